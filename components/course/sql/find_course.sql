select
    c.id, c.title, c.description, c.level, c.instrument, c.price_per_session,
    c.duration_minutes, c.max_students, c.is_active, c.created_at, c.updated_at
from course.courses c
where c.id = $1
