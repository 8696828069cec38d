select swept.id, swept.course_id
from booking.clean_expired_bookings($1) swept
