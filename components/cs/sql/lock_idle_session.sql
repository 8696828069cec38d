select s.id
from cs.sessions s
where s.id = $1
  and s.status = 'open'
  and s.last_activity_at <= now() - make_interval(secs => $2)
for no key update
