select
    count(*) as total,
    count(*) filter (where b.course_id = $3) as in_course
from booking.bookings b
where b.status = 'pending'
  and b.expires_at > now()
  and (b.applicant_email = $1 or b.user_id = $2)
