select a.status, a.notes
from course.schedule_attendees a
where a.schedule_id = $1 and a.booking_id = $2
for no key update
