select count(*)
from booking.enrollments e
where ($1::uuid is null or e.student_id = $1)
  and ($2::uuid is null or e.course_id = $2)
  and ($3::booking.enrollment_status is null or e.status = $3)
