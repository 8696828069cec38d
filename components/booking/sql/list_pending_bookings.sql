select
    b.id, b.registration_number, b.course_id, b.user_id, b.status,
    b.applicant_full_name, b.applicant_email, b.applicant_wa_number,
    b.experience_level, b.time_preferences, b.preferred_days, b.preferred_time_range,
    b.start_date_target, b.guardian_name, b.guardian_wa_number, b.instrument_owned, b.notes,
    b.referral_source, b.first_choice_slot_id, b.second_choice_slot_id, b.confirmed_slot_id,
    b.rejection_reason, b.created_at, b.updated_at, b.expires_at, b.confirmed_at, b.rejected_at,
    c.title as course_title, c.level as course_level, c.instrument as course_instrument,
    c.price_per_session as course_price_per_session
from booking.bookings b
join course.courses c on c.id = b.course_id
where b.status = 'pending'
  and b.expires_at > now()
  and ($1::uuid is null or b.course_id = $1)
order by b.created_at, b.id
limit $2 offset $3
