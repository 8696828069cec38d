-- No row if somebody else has the email, also if they got it only just now.
insert into public.users as u (full_name, email, wa_number, role, auth_provider, email_verified)
values ($1, $2, $3, 'student', 'course_registration', false)
on conflict (email) where deleted_at is null do nothing
returning u.id, u.full_name, u.email, u.wa_number, u.role
