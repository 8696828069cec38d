select
    s.id, c.title as course_title, s.start_time, s.end_time, u.full_name as instructor_name
from course.class_schedules s
join course.courses c on c.id = s.course_id
join public.users u on u.id = s.instructor_id
where s.room_id = $1 and s.start_time > now()
order by s.start_time, s.id
limit 20
