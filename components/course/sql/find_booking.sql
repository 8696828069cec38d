select b.user_id, b.course_id, b.status
from booking.bookings b
where b.id = $1
