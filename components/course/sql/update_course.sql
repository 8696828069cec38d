-- A flag goes before each column that can be cleared: null is a value there.
update course.courses c
set title = coalesce($2, c.title),
    description = case when $3 then $4 else c.description end,
    level = coalesce($5, c.level),
    price_per_session = coalesce($6, c.price_per_session),
    duration_minutes = coalesce($7, c.duration_minutes),
    max_students = coalesce($8, c.max_students),
    instrument = case when $9 then $10 else c.instrument end,
    is_active = coalesce($11, c.is_active)
where c.id = $1
returning
    c.id, c.title, c.description, c.level, c.instrument, c.price_per_session,
    c.duration_minutes, c.max_students, c.is_active, c.created_at, c.updated_at
