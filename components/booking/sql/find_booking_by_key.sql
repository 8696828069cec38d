select b.id, b.user_id, b.consent_at is not null as is_public
from booking.bookings b
where b.idempotency_key = $1
