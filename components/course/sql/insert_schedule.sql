insert into course.class_schedules as s
    (course_id, instructor_id, room_id, start_time, end_time, max_attendees, created_by)
values ($1, $2, $3, $4, $5, $6, $7)
returning s.id
