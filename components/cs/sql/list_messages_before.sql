select
    m.id, m.session_id, m.sender_type,
    case m.sender_type when 'guest' then 'user' when 'admin' then 'assistant' else 'system' end as role,
    m.sender_id, m.message as content, m.seq, m.created_at
from cs.messages m
where m.session_id = $1 and m.seq < $2
order by m.seq desc
limit $3
