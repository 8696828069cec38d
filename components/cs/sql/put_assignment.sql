with a as (
    insert into cs.admin_assignments (session_id, admin_id)
    values ($1, $2)
    on conflict (session_id) do update set admin_id = excluded.admin_id, assigned_at = excluded.assigned_at
    returning admin_id, assigned_at
)
select a.admin_id, u.full_name as admin_name, a.assigned_at
from a
join public.users u on u.id = a.admin_id
