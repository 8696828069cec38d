select a.*
from course.attendance_details a
where a.schedule_id = $1
order by a.student_name, a.booking_id
