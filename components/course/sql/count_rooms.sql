select count(*)
from course.rooms r
