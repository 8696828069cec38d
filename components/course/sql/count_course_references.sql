select
    (select count(*) from booking.bookings b where b.course_id = $1) as bookings,
    (select count(*) from booking.enrollments e where e.course_id = $1) as enrollments,
    (select count(*) from course.class_schedules s where s.course_id = $1) as schedules
