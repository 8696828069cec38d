select count(*)
from course.class_schedules s
join course.courses c on c.id = s.course_id
where s.start_time > now()
  and c.is_active
  and s.current_attendees < s.max_attendees
  and ($1::uuid is null or s.course_id = $1)
  and ($2::uuid is null or s.instructor_id = $2)
  and ($3::course.course_level is null or c.level = $3)
  and ($4::timestamptz is null or s.start_time >= $4)
  and ($5::timestamptz is null or s.start_time <= $5)
