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
returning
    b.id, b.registration_number, b.course_id, b.user_id, b.status,
    b.applicant_full_name, b.applicant_email, b.applicant_wa_number,
    b.experience_level, b.time_preferences, b.preferred_days, b.preferred_time_range,
    b.start_date_target, b.guardian_name, b.guardian_wa_number, b.instrument_owned, b.notes,
    b.referral_source, b.first_choice_slot_id, b.second_choice_slot_id, b.confirmed_slot_id,
    b.rejection_reason, b.created_at, b.updated_at, b.expires_at, b.confirmed_at, b.rejected_at
