-- Seats would go with the class. The count is in the row itself, so a seat that
-- is being taken right now is waited for and then seen.
delete from course.class_schedules s
where s.id = $1 and s.current_attendees = 0
