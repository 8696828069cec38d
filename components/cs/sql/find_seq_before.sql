select coalesce(max(m.seq), 0) from cs.messages m where m.session_id = $1 and m.created_at < $2
