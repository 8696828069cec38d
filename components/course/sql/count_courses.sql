select count(*)
from course.courses c
where ($1::course.course_level is null or c.level = $1)
  and ($2::boolean is null or c.is_active = $2)
  and ($3::numeric is null or c.price_per_session >= $3)
  and ($4::numeric is null or c.price_per_session <= $4)
  and ($5::text is null or lower(c.instrument) = lower($5))
  and ($6::text is null or c.title ilike $6 or c.description ilike $6)
