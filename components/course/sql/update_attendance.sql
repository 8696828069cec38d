-- On the right of the assignments stands the row as it was.
update course.schedule_attendees a
set status = $3::course.attendance_status,
    notes = $4,
    attended_at = case
        when $3 <> 'present' then null
        when a.status = 'present' then a.attended_at
        else clock_timestamp()
    end,
    recorded_by = case when $3 <> 'not_recorded' then $5::uuid end
where a.schedule_id = $1 and a.booking_id = $2
