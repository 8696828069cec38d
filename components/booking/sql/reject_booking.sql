update booking.bookings b
set status = 'rejected', rejected_at = now(), rejected_by = $2, rejection_reason = $3
where b.id = $1 and b.status = 'pending'
