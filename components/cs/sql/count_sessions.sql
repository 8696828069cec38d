select count(*)
from cs.listed_sessions s
where ($1::text is null or s.status = $1)
  and ($2::boolean is null or (s.assigned_admin_id is not null) = $2)
  and ($3::text is null or s.guest_name ilike $3 or s.guest_email::text ilike $3)
  and ($4::uuid is null or s.assigned_admin_id = $4)
