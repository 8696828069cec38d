-- $2: only those of this instructor.
select
    a.schedule_id, a.booking_id, a.user_id,
    coalesce(u.full_name, b.applicant_full_name) as student_name,
    a.status, a.attended, a.attended_at, a.recorded_by, a.notes, a.created_at, a.updated_at,
    s.id as class_id, c.title as class_course_title,
    s.start_time as class_start_time, s.end_time as class_end_time
from course.schedule_attendees a
join booking.bookings b on b.id = a.booking_id
left join public.users u on u.id = coalesce(a.user_id, b.user_id)
join course.class_schedules s on s.id = a.schedule_id
join course.courses c on c.id = s.course_id
where a.booking_id = $1 and ($2::uuid is null or s.instructor_id = $2)
order by s.start_time, s.id
