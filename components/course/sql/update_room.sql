-- A flag goes before each column that can be cleared: null is a value there.
update course.rooms r
set name = coalesce($2, r.name),
    capacity = coalesce($3, r.capacity),
    description = case when $4 then $5 else r.description end,
    location = case when $6 then $7 else r.location end,
    instruments = coalesce($8, r.instruments)
where r.id = $1
returning
    r.id, r.name, r.capacity, r.location, r.description, r.instruments, r.created_at, r.updated_at
