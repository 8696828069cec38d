insert into booking.bookings as b
    (user_id, course_id, applicant_full_name, applicant_email, applicant_wa_number,
     experience_level, time_preferences, preferred_days, preferred_time_range, start_date_target,
     guardian_name, guardian_wa_number, instrument_owned, notes, referral_source,
     first_choice_slot_id, second_choice_slot_id, idempotency_key, consent_at, expires_at)
values (
    $1, $2, $3, $4, $5,
    $6, $7, $8, $9, $10,
    $11, $12, $13, $14, $15,
    $16, $17, $18,
    case when $19::boolean then now() end,
    now() + make_interval(hours => $20::int))
returning b.id
