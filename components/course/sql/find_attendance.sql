select a.*
from course.attendance_details a
where a.schedule_id = $1 and a.booking_id = $2
