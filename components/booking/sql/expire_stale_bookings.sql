-- A stale row still stands in the partial unique index, in the way of a new one.
update booking.bookings b
set status = 'expired'
where b.status = 'pending'
  and b.expires_at <= now()
  and (b.applicant_email = $1 or b.user_id = $2)
returning b.id, b.course_id
