select a.admin_id, u.full_name as admin_name, a.assigned_at
from cs.admin_assignments a
join public.users u on u.id = a.admin_id and u.role = 'admin' and u.deleted_at is null
where a.session_id = $1
