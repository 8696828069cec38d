-- The number first: it is the row lock of the session that puts its messages in
-- order, without holes. The time is that of the number, not the beginning of
-- the transaction, which may have waited for the lock.
with numbered as (
    update cs.sessions
    set last_seq = last_seq + 1, last_activity_at = clock_timestamp()
    where id = $1
    returning id, last_seq, last_activity_at
), m as (
    insert into cs.messages (session_id, seq, sender_type, sender_id, message, client_message_id, created_at)
    select n.id, n.last_seq, $2::text, $3::uuid, $4::text, $5::uuid, n.last_activity_at
    from numbered n
    returning *
)
select
    m.id, m.session_id, m.sender_type,
    case m.sender_type when 'guest' then 'user' when 'admin' then 'assistant' else 'system' end as role,
    m.sender_id, m.message as content, m.seq, m.created_at
from m
