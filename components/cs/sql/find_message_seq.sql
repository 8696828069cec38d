select m.seq from cs.messages m where m.session_id = $1 and m.id = $2
