select m.*
from cs.message_details m
where m.session_id = $1 and m.seq < $2
order by m.seq desc
limit $3
