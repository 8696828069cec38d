-- The foreign key refuses it while a class is in the room.
delete from course.rooms r
where r.id = $1
