select
    u.id, u.email, u.full_name, u.role, u.phone_number, u.avatar_url,
    u.created_at, u.updated_at, u.last_login_at
from public.users u
where u.firebase_uid = $1 and u.deleted_at is null
