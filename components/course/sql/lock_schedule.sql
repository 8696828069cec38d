-- The row first and the time after it: who had to wait for the lock needs the
-- time at which the wait was over. `no key`, because attendees refer to the row
-- and the trigger that counts them takes the same lock.
with schedule as materialized (
    select
        s.course_id, s.instructor_id, s.room_id, s.start_time, s.end_time,
        s.max_attendees, s.current_attendees
    from course.class_schedules s
    where s.id = $1
    for no key update
)
select schedule.*, clock_timestamp() as now
from schedule
