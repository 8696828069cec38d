-- Nobody, if the user got another account or another email, or was deleted,
-- since it was found. Who has a password keeps it and stays of that provider.
update public.users u
set firebase_uid = $3,
    provider = $4,
    auth_provider = case when u.password_hash is null then 'firebase' else u.auth_provider end,
    email_verified = true,
    last_login_at = clock_timestamp()
where u.id = $1 and u.email = $2 and u.firebase_uid is null and u.deleted_at is null
returning
    u.id, u.email, u.full_name, u.role, u.phone_number, u.avatar_url,
    u.created_at, u.updated_at, u.last_login_at
