select c.is_active
from course.courses c
where c.id = $1
