-- $6: whether the notes are replaced, too.
update booking.enrollments e
set booking_id = $3,
    status = $4::booking.enrollment_status,
    notes = case when $6 then $5 else e.notes end,
    enrolled_at = now(),
    completed_at = case when $4::booking.enrollment_status = 'completed' then now() end
where e.student_id = $1 and e.course_id = $2 and e.status = 'cancelled'
returning e.id
