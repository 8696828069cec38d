select s.id
from cs.sessions s
where s.status = 'open' and s.last_activity_at <= now() - make_interval(secs => $1)
order by s.last_activity_at, s.id
limit 500 offset $2
