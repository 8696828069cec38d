insert into public.users as u
    (email, full_name, role, firebase_uid, phone_number, wa_number, address, avatar_url,
     provider, auth_provider, email_verified)
values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)
returning
    u.id, u.email, u.full_name, u.role, u.phone_number, u.avatar_url,
    u.created_at, u.updated_at, u.last_login_at,
    u.wa_number, u.address, u.email_verified, u.auth_provider
