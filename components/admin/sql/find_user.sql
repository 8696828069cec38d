select
    u.id, u.email, u.full_name, u.role, u.phone_number, u.avatar_url,
    u.created_at, u.updated_at, u.last_login_at,
    u.wa_number, u.address, u.email_verified, u.auth_provider
from public.users u
where u.id = $1 and u.deleted_at is null
