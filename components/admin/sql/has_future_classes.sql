select exists (
    select
    from course.class_schedules s
    where s.instructor_id = $1 and s.start_time > clock_timestamp())
