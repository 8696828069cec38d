select s.*
from course.schedule_details s
where s.course_id = $1 and s.start_time > now()
order by s.start_time, s.id
limit 20
