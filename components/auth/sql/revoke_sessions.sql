update public.refresh_sessions s
set revoked_at = clock_timestamp()
where s.user_id = $1 and s.id = any ($2) and s.revoked_at is null
