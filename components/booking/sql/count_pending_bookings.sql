select count(*)
from booking.bookings b
where b.status = 'pending'
  and b.expires_at > now()
  and ($1::uuid is null or b.course_id = $1)
