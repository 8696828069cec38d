update course.class_schedules s
set course_id = $2,
    instructor_id = $3,
    room_id = $4,
    start_time = $5,
    end_time = $6,
    max_attendees = $7
where s.id = $1
