insert into cs.sessions (guest_name, guest_email, school, class, session_token_hash)
values ($1, $2, $3, $4, $5)
returning id
