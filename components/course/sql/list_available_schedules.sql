select s.*
from course.schedule_details s
where s.is_available
  and ($1::uuid is null or s.course_id = $1)
  and ($2::uuid is null or s.instructor_id = $2)
  and ($3::course.course_level is null or s.course_level = $3)
  and ($4::timestamptz is null or s.start_time >= $4)
  and ($5::timestamptz is null or s.start_time <= $5)
order by s.start_time, s.id
limit $6 offset $7
