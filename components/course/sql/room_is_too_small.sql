-- For the classes that are still to come.
select exists (
    select
    from course.class_schedules s
    where s.room_id = $1 and s.start_time > clock_timestamp() and s.max_attendees > $2)
