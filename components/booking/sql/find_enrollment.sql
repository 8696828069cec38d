select e.*
from booking.enrollment_details e
where e.id = $1
