select
    a.schedule_id, a.booking_id, a.user_id,
    coalesce(u.full_name, b.applicant_full_name) as student_name,
    a.status, a.attended, a.attended_at, a.recorded_by, a.notes, a.created_at, a.updated_at
from course.schedule_attendees a
join booking.bookings b on b.id = a.booking_id
left join public.users u on u.id = coalesce(a.user_id, b.user_id)
where a.schedule_id = $1
order by student_name, a.booking_id
