select e.*
from booking.enrollment_details e
where ($1::uuid is null or e.student_id = $1)
  and ($2::uuid is null or e.course_id = $2)
  and ($3::booking.enrollment_status is null or e.status = $3)
order by e.enrolled_at desc, e.id desc
limit $4 offset $5
