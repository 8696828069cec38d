select b.*
from booking.listed_bookings b
where b.is_pending and ($1::uuid is null or b.course_id = $1)
order by b.created_at, b.id
limit $2 offset $3
