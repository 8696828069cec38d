select s.*
from course.schedule_details s
where ($1::uuid is null or s.course_id = $1)
  and ($2::uuid is null or s.instructor_id = $2)
  and ($3::uuid is null or s.room_id = $3)
  and ($4::timestamptz is null or s.start_time >= $4)
  and ($5::timestamptz is null or s.start_time <= $5)
order by s.start_time, s.id
limit $6 offset $7
