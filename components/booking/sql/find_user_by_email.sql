-- Email is citext, so this compares without regard to case.
select u.id, u.full_name, u.email, u.wa_number, u.role
from public.users u
where u.email = $1 and u.deleted_at is null
