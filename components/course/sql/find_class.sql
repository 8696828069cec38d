select s.id, s.course_title, s.start_time, s.end_time
from course.schedule_details s
where s.id = $1
