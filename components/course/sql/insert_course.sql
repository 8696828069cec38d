insert into course.courses as c
    (title, description, level, price_per_session, duration_minutes, max_students, instrument, is_active)
values ($1, $2, $3, $4, $5, $6, $7, $8)
returning
    c.id, c.title, c.description, c.level, c.instrument, c.price_per_session,
    c.duration_minutes, c.max_students, c.is_active, c.created_at, c.updated_at
