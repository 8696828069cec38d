update booking.bookings b
set status = 'rejected', rejected_at = now(), rejected_by = $2, rejection_reason = $3
where b.id = $1 and b.status = 'pending'
returning
    b.id, b.registration_number, b.course_id, b.user_id, b.status,
    b.applicant_full_name, b.applicant_email, b.applicant_wa_number,
    b.experience_level, b.time_preferences, b.preferred_days, b.preferred_time_range,
    b.start_date_target, b.guardian_name, b.guardian_wa_number, b.instrument_owned, b.notes,
    b.referral_source, b.first_choice_slot_id, b.second_choice_slot_id, b.confirmed_slot_id,
    b.rejection_reason, b.created_at, b.updated_at, b.expires_at, b.confirmed_at, b.rejected_at
