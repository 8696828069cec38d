select
    count(*) filter (where a.status = 'present') as present,
    count(*) filter (where a.status = 'absent') as absent
from course.schedule_attendees a
where a.booking_id = $1
