select count(*)
from cs.sessions s
left join cs.admin_assignments a on a.session_id = s.id
left join public.users u on u.id = a.admin_id and u.role = 'admin' and u.deleted_at is null
where ($1::text is null or s.status = $1)
  and ($2::boolean is null or (u.id is not null) = $2)
  and ($3::text is null or s.guest_name ilike $3 or s.guest_email::text ilike $3)
  and ($4::uuid is null or u.id = $4)
