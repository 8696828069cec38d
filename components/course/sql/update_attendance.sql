-- On the right of the assignments stands the row as it was.
with a as (
    update course.schedule_attendees a
    set status = $3::course.attendance_status,
        notes = $4,
        attended_at = case
            when $3 <> 'present' then null
            when a.status = 'present' then a.attended_at
            else clock_timestamp()
        end,
        recorded_by = case when $3 <> 'not_recorded' then $5::uuid end
    where a.schedule_id = $1 and a.booking_id = $2
    returning *
)
select
    a.schedule_id, a.booking_id, a.user_id,
    coalesce(u.full_name, b.applicant_full_name) as student_name,
    a.status, a.attended, a.attended_at, a.recorded_by, a.notes, a.created_at, a.updated_at
from a
join booking.bookings b on b.id = a.booking_id
left join public.users u on u.id = coalesce(a.user_id, b.user_id)
