select u.id, u.full_name, u.email, u.wa_number, u.role
from public.users u
where u.id = $1 and u.deleted_at is null
