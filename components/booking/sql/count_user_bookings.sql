select count(*)
from booking.bookings b
cross join lateral (
    select case
        when b.status = 'pending' and b.expires_at <= now() then 'expired'
        else b.status
    end as status
) s
where b.user_id = $1
  and ($2::booking.booking_status is null or s.status = $2)
