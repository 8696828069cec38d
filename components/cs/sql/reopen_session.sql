-- Being taken up again counts as activity: else the session, long idle, would
-- be closed again within a minute.
update cs.sessions
set status = 'open', close_reason = null, closed_at = null, last_activity_at = now()
where id = $1
