select exists (
    select
    from booking.enrollments e
    where e.student_id = $1 and e.course_id = $2 and e.status = 'active')
