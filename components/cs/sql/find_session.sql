select s.*
from cs.session_details s
where s.id = $1
