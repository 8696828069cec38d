insert into course.rooms as r (name, capacity, description, location, instruments)
values ($1, $2, $3, $4, coalesce($5::text[], '{}'))
returning
    r.id, r.name, r.capacity, r.location, r.description, r.instruments, r.created_at, r.updated_at
