select e.status, e.notes
from booking.enrollments e
where e.id = $1
for update
