-- A flag goes before each column that can be cleared: null is a value there.
update public.users u
set full_name = coalesce($2, u.full_name),
    phone_number = case when $3 then $4 else u.phone_number end,
    wa_number = case when $5 then $6 else u.wa_number end,
    address = case when $7 then $8 else u.address end,
    avatar_url = case when $9 then $10 else u.avatar_url end,
    email = coalesce($11, u.email),
    role = coalesce($12, u.role),
    email_verified = coalesce($13, u.email_verified)
where u.id = $1 and u.deleted_at is null
returning
    u.id, u.email, u.full_name, u.role, u.phone_number, u.avatar_url,
    u.created_at, u.updated_at, u.last_login_at,
    u.wa_number, u.address, u.email_verified, u.auth_provider
