update public.users u
set last_login_at = clock_timestamp(), email_verified = $2
where u.id = $1 and u.deleted_at is null
returning
    u.id, u.email, u.full_name, u.role, u.phone_number, u.avatar_url,
    u.created_at, u.updated_at, u.last_login_at
