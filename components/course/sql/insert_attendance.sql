-- The trigger enforce_class_capacity counts the seat.
insert into course.schedule_attendees
    (schedule_id, booking_id, user_id, status, notes, attended_at, recorded_by)
values (
    $1, $2, $3, $4::course.attendance_status, $5,
    case when $4 = 'present' then clock_timestamp() end,
    case when $4 <> 'not_recorded' then $6::uuid end)
