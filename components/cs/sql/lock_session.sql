select s.status from cs.sessions s where s.id = $1 for no key update
