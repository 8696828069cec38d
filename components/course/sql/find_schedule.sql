select
    s.id, s.course_id, s.instructor_id, s.room_id,
    c.title as course_title, c.level as course_level, c.instrument as course_instrument,
    u.full_name as instructor_full_name,
    r.name as room_name, r.capacity as room_capacity,
    s.start_time, s.end_time, s.max_attendees, s.current_attendees,
    s.max_attendees - s.current_attendees as available_slots,
    s.created_at, s.updated_at
from course.class_schedules s
join course.courses c on c.id = s.course_id
join public.users u on u.id = s.instructor_id
join course.rooms r on r.id = s.room_id
where s.id = $1
