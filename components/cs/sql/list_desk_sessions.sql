select
    s.id, s.guest_name, s.guest_email, s.school, s.class, s.status,
    u.id as assigned_admin_id, u.full_name as assigned_admin_full_name,
    s.last_seq as message_count, m.created_at as last_message_at,
    s.created_at, s.updated_at, s.closed_at
from cs.sessions s
left join cs.admin_assignments a on a.session_id = s.id
left join public.users u on u.id = a.admin_id and u.role = 'admin' and u.deleted_at is null
left join cs.messages m on m.session_id = s.id and m.seq = s.last_seq
where s.status = 'open' or s.id = any($1)
order by s.updated_at desc, s.id desc
