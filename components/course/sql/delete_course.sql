-- The foreign keys refuse it while anything refers to the course.
delete from course.courses c
where c.id = $1
