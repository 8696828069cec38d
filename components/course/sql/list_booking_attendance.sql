-- $2: only those of this instructor.
select
    a.*,
    s.id as class_id, s.course_title as class_course_title,
    s.start_time as class_start_time, s.end_time as class_end_time
from course.attendance_details a
join course.schedule_details s on s.id = a.schedule_id
where a.booking_id = $1 and ($2::uuid is null or s.instructor_id = $2)
order by s.start_time, s.id
