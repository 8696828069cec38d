select u.id, u.role, u.firebase_uid, u.deleted_at is not null as is_deleted
from public.users u
where u.firebase_uid = $1
   or (u.email = $2 and u.deleted_at is null)
