delete from booking.bookings b
where b.id = $1 and b.status <> 'confirmed'
