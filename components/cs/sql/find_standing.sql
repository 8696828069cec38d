select s.status, s.last_seq, s.close_reason, s.closed_at from cs.sessions s where s.id = $1
