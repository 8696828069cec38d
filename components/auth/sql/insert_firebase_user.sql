insert into public.users as u
    (email, firebase_uid, full_name, phone_number, role, auth_provider, provider, email_verified, last_login_at)
values ($1, $2, $3, $4, $5, 'firebase', $6, $7, case when $8 then clock_timestamp() end)
returning
    u.id, u.email, u.full_name, u.role, u.phone_number, u.avatar_url,
    u.created_at, u.updated_at, u.last_login_at
