-- Of these sessions, and for the desk of all that are open or have been until
-- a moment ago: of those it is to get the last message as well.
select s.id, s.status, s.last_seq from cs.sessions s where s.id = any($1)
union
select s.id, s.status, s.last_seq from cs.sessions s where $2 and s.status = 'open'
union
select s.id, s.status, s.last_seq from cs.sessions s where $2 and s.updated_at > now() - interval '5 minutes'
