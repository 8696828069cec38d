select s.session_token_hash from cs.sessions s where s.id = $1
