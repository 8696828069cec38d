select
    e.id, e.student_id, e.course_id, e.booking_id, e.status, e.enrolled_at, e.completed_at, e.notes,
    e.created_at, e.updated_at,
    u.full_name as student_full_name, u.email as student_email,
    c.title as course_title, c.level as course_level
from booking.enrollments e
join public.users u on u.id = e.student_id
join course.courses c on c.id = e.course_id
where e.id = $1
