insert into public.users (email, password_hash, full_name, phone_number, role, auth_provider)
values ($1, $2, $3, $4, 'admin', 'password')
returning
    id, email, full_name, role, phone_number, avatar_url,
    created_at, updated_at, last_login_at
