-- The trigger enforce_class_capacity counts the seat.
with a as (
    insert into course.schedule_attendees
        (schedule_id, booking_id, user_id, status, notes, attended_at, recorded_by)
    values (
        $1, $2, $3, $4::course.attendance_status, $5,
        case when $4 = 'present' then clock_timestamp() end,
        case when $4 <> 'not_recorded' then $6::uuid end)
    returning *
)
select
    a.schedule_id, a.booking_id, a.user_id,
    coalesce(u.full_name, b.applicant_full_name) as student_name,
    a.status, a.attended, a.attended_at, a.recorded_by, a.notes, a.created_at, a.updated_at
from a
join booking.bookings b on b.id = a.booking_id
left join public.users u on u.id = coalesce(a.user_id, b.user_id)
