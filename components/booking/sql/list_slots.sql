select
    s.id, s.course_id,
    s.start_time > now() as is_upcoming,
    s.current_attendees < s.max_attendees as has_seat
from course.class_schedules s
where s.id = any($1::uuid[])
