select
    s.id, s.guest_name, s.guest_email, s.school, s.class, s.status,
    u.id as assigned_admin_id, u.full_name as assigned_admin_full_name,
    s.last_seq as message_count, m.created_at as last_message_at,
    s.created_at, s.updated_at, s.closed_at,
    m.id as newest_id, m.session_id as newest_session_id, m.sender_type as newest_sender_type,
    case m.sender_type when 'guest' then 'user' when 'admin' then 'assistant' when 'system' then 'system' end
        as newest_role,
    m.sender_id as newest_sender_id, m.message as newest_content, m.seq as newest_seq,
    m.created_at as newest_created_at
from cs.sessions s
left join cs.admin_assignments a on a.session_id = s.id
left join public.users u on u.id = a.admin_id and u.role = 'admin' and u.deleted_at is null
left join cs.messages m on m.session_id = s.id and m.seq = s.last_seq
where ($1::text is null or s.status = $1)
  and ($2::boolean is null or (u.id is not null) = $2)
  and ($3::text is null or s.guest_name ilike $3 or s.guest_email::text ilike $3)
  and ($4::uuid is null or u.id = $4)
order by s.updated_at desc, s.id desc
limit $5 offset $6
