update booking.bookings b
set status = 'expired'
where b.id = $1 and b.status = 'pending'
