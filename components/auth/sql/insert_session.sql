insert into public.refresh_sessions (id, user_id, token_hash, expires_at, user_agent)
values ($1, $2, $3, $4, left($5, 512))
