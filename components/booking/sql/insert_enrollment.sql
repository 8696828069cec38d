insert into booking.enrollments as e
    (student_id, course_id, booking_id, status, notes, completed_at)
values (
    $1, $2, $3, $4::booking.enrollment_status, $5,
    case when $4::booking.enrollment_status = 'completed' then now() end)
on conflict do nothing
returning e.id
