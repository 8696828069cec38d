select s.id, s.course_title, s.start_time, s.end_time, s.instructor_full_name as instructor_name
from course.schedule_details s
where s.room_id = $1 and s.start_time > now()
order by s.start_time, s.id
limit 20
