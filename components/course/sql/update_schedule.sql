with s as (
    update course.class_schedules
    set course_id = $2,
        instructor_id = $3,
        room_id = $4,
        start_time = $5,
        end_time = $6,
        max_attendees = $7
    where id = $1
    returning *
)
select
    s.id, s.course_id, s.instructor_id, s.room_id,
    c.title as course_title, c.level as course_level, c.instrument as course_instrument,
    u.full_name as instructor_full_name,
    r.name as room_name, r.capacity as room_capacity,
    s.start_time, s.end_time, s.max_attendees, s.current_attendees,
    s.max_attendees - s.current_attendees as available_slots,
    s.created_at, s.updated_at
from s
join course.courses c on c.id = s.course_id
join public.users u on u.id = s.instructor_id
join course.rooms r on r.id = s.room_id
