-- Half-open, as in the exclusion constraints, whose indexes this uses.
select 'room' as kind, s.id as schedule_id, s.start_time, s.end_time
from course.class_schedules s
where s.room_id = $1
  and tstzrange(s.start_time, s.end_time, '[)') && tstzrange($3, $4, '[)')
  and s.id is distinct from $5
union all
select 'instructor', s.id, s.start_time, s.end_time
from course.class_schedules s
where s.instructor_id = $2
  and tstzrange(s.start_time, s.end_time, '[)') && tstzrange($3, $4, '[)')
  and s.id is distinct from $5
order by start_time, schedule_id, kind desc
