update booking.bookings b
set status = 'confirmed', confirmed_at = now(), confirmed_by = $2, user_id = $3, confirmed_slot_id = $4
where b.id = $1 and b.status = 'pending'
