select s.*
from course.schedule_details s
where s.id = $1
