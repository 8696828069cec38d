-- The trigger enforce_class_capacity counts the seat and locks the class.
insert into course.schedule_attendees (schedule_id, booking_id, user_id)
values ($1, $2, $3)
