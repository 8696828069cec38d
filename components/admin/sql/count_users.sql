select count(*)
from public.users u
where u.deleted_at is null
  and ($1::public.user_role is null or u.role = $1)
  and ($2::text is null or u.full_name ilike $2 or u.email::text ilike $2)
  and ($3::text is null or u.email::text ilike $3)
