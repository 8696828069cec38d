select b.*
from booking.listed_bookings b
where b.user_id = $1 and ($2::booking.booking_status is null or b.status = $2)
order by b.created_at desc, b.id desc
limit $3 offset $4
