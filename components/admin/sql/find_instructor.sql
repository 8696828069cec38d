select i.*
from public.instructor_details i
where i.user_id = $1
