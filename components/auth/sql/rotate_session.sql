update public.refresh_sessions s
set previous_token_hash = s.token_hash,
    token_hash = $2,
    rotated_at = $3,
    expires_at = $4
where s.id = $1
