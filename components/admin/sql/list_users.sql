select
    u.id, u.email, u.full_name, u.role, u.phone_number, u.avatar_url,
    u.created_at, u.updated_at, u.last_login_at,
    u.wa_number, u.address, u.email_verified, u.auth_provider
from public.users u
where u.deleted_at is null
  and ($1::public.user_role is null or u.role = $1)
  and ($2::text is null or u.full_name ilike $2 or u.email::text ilike $2)
  and ($3::text is null or u.email::text ilike $3)
order by u.created_at desc, u.id desc
limit $4 offset $5
