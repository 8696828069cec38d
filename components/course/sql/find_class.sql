select s.id, c.title as course_title, s.start_time, s.end_time
from course.class_schedules s
join course.courses c on c.id = s.course_id
where s.id = $1
