-- On the right of the assignments stands the row as it was.
update booking.enrollments e
set status = $2::booking.enrollment_status,
    notes = $3,
    completed_at = case when $2::booking.enrollment_status = 'completed' then coalesce(e.completed_at, now()) end
where e.id = $1
