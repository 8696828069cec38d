update cs.sessions set status = 'closed', close_reason = $2, closed_at = clock_timestamp() where id = $1
