-- What a class is made of, as far as it exists. Course and room are locked, so
-- that neither a lower capacity nor a deactivation slips in before the commit.
with course as materialized (
    select c.is_active, c.max_students
    from course.courses c
    where c.id = $1
    for share
), room as materialized (
    select r.id, r.capacity
    from course.rooms r
    where r.id = $3
    for share
)
select
    course.is_active as course_is_active,
    course.max_students as course_max_students,
    instructor.role as instructor_role,
    room.id is not null as room_exists,
    room.capacity as room_capacity,
    clock_timestamp() as now
from (values (true)) as always (row_exists)
left join course on true
left join room on true
left join public.users instructor on instructor.id = $2 and instructor.deleted_at is null
