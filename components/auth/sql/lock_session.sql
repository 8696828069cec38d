-- The row first and the time after it: who had to wait for the lock needs the
-- time at which the wait was over.
with session as materialized (
    select s.token_hash, s.previous_token_hash, s.rotated_at, s.expires_at, s.revoked_at
    from public.refresh_sessions s
    where s.id = $1 and s.user_id = $2
    for update
)
select session.*, clock_timestamp() as now
from session
