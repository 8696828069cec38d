select m.*
from cs.message_details m
where m.session_id = $1 and m.client_message_id = $2
