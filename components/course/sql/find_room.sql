select
    r.id, r.name, r.capacity, r.location, r.description, r.instruments, r.created_at, r.updated_at
from course.rooms r
where r.id = $1
