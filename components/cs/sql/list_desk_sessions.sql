select s.*
from cs.session_details s
where s.status = 'open' or s.id = any($1)
order by s.updated_at desc, s.id desc
