-- One view per answer: the columns and joins of what the components send back,
-- written once, so that a statement says only which rows it wants.
--
--   * A view runs with the rights of its owner, who owns the tables. A component
--     needs the view alone, not the tables of others that it joins. Rights on
--     those stay as 0007_grants.sql has them: the version to which one may roll
--     back still reads them.
--   * None aggregates, sorts or removes duplicates, so PostgreSQL plans a
--     statement as if the view's joins stood in it.
--   * schedule_details left-joins users and rooms although a foreign key says
--     that there is a row: PostgreSQL drops a left join by a unique key where no
--     column of it is used, and several statements use none.
--   * A view never changes while a component's version that reads it can be
--     live: an answer with other columns is a new view.


-- course

create view course.schedule_details as
select
    s.id,
    s.course_id,
    s.instructor_id,
    s.room_id,
    c.title as course_title,
    c.level as course_level,
    c.instrument as course_instrument,
    u.full_name as instructor_full_name,
    r.name as room_name,
    r.capacity as room_capacity,
    s.start_time,
    s.end_time,
    s.max_attendees,
    s.current_attendees,
    s.max_attendees - s.current_attendees as available_slots,
    s.created_at,
    s.updated_at,
    -- Of no answer: whether a seat can be booked.
    s.start_time > now() and c.is_active and s.current_attendees < s.max_attendees as is_available
from course.class_schedules s
join course.courses c on c.id = s.course_id
left join public.users u on u.id = s.instructor_id
left join course.rooms r on r.id = s.room_id;

create view course.attendance_details as
select
    a.schedule_id,
    a.booking_id,
    a.user_id,
    coalesce(u.full_name, b.applicant_full_name) as student_name,
    a.status,
    a.attended,
    a.attended_at,
    a.recorded_by,
    a.notes,
    a.created_at,
    a.updated_at
from course.schedule_attendees a
join booking.bookings b on b.id = a.booking_id
left join public.users u on u.id = coalesce(a.user_id, b.user_id);

grant select on course.schedule_details, course.attendance_details to shema_course;


-- booking

-- An overdue booking is an expired one, swept or not.
create view booking.listed_bookings as
select
    b.id,
    b.registration_number,
    b.course_id,
    b.user_id,
    case when b.status = 'pending' and b.expires_at <= now() then 'expired' else b.status end as status,
    b.applicant_full_name,
    b.applicant_email,
    b.applicant_wa_number,
    b.experience_level,
    b.time_preferences,
    b.preferred_days,
    b.preferred_time_range,
    b.start_date_target,
    b.guardian_name,
    b.guardian_wa_number,
    b.instrument_owned,
    b.notes,
    b.referral_source,
    b.first_choice_slot_id,
    b.second_choice_slot_id,
    b.confirmed_slot_id,
    b.rejection_reason,
    b.created_at,
    b.updated_at,
    b.expires_at,
    b.confirmed_at,
    b.rejected_at,
    c.title as course_title,
    c.level as course_level,
    c.instrument as course_instrument,
    c.price_per_session as course_price_per_session,
    -- Of no answer: as status = 'pending', in a form for which there are indexes.
    b.status = 'pending' and b.expires_at > now() as is_pending
from booking.bookings b
join course.courses c on c.id = b.course_id;

create view booking.enrollment_details as
select
    e.id,
    e.student_id,
    e.course_id,
    e.booking_id,
    e.status,
    e.enrolled_at,
    e.completed_at,
    e.notes,
    e.created_at,
    e.updated_at,
    u.full_name as student_full_name,
    u.email as student_email,
    c.title as course_title,
    c.level as course_level
from booking.enrollments e
join public.users u on u.id = e.student_id
join course.courses c on c.id = e.course_id;

grant select on booking.listed_bookings, booking.enrollment_details to shema_booking;


-- cs

create view cs.message_details as
select
    m.id,
    m.session_id,
    m.sender_type,
    case m.sender_type when 'guest' then 'user' when 'admin' then 'assistant' else 'system' end as role,
    m.sender_id,
    m.message as content,
    m.seq,
    m.created_at,
    -- Of no answer: by this a repeated message is found.
    m.client_message_id
from cs.messages m;

-- Sessions with their newest message. An assigned admin who has been deleted or
-- has another role by now is none.
create view cs.listed_sessions as
select
    s.id,
    s.guest_name,
    s.guest_email,
    s.school,
    s.class,
    s.status,
    u.id as assigned_admin_id,
    u.full_name as assigned_admin_full_name,
    s.last_seq as message_count,
    m.created_at as last_message_at,
    s.created_at,
    s.updated_at,
    s.closed_at,
    m.id as newest_id,
    m.session_id as newest_session_id,
    m.sender_type as newest_sender_type,
    m.role as newest_role,
    m.sender_id as newest_sender_id,
    m.content as newest_content,
    m.seq as newest_seq,
    m.created_at as newest_created_at
from cs.sessions s
left join cs.admin_assignments a on a.session_id = s.id
left join public.users u on u.id = a.admin_id and u.role = 'admin' and u.deleted_at is null
left join cs.message_details m on m.session_id = s.id and m.seq = s.last_seq;

create view cs.session_details as
select
    l.id,
    l.guest_name,
    l.guest_email,
    l.school,
    l.class,
    l.status,
    l.assigned_admin_id,
    l.assigned_admin_full_name,
    l.message_count,
    l.last_message_at,
    l.created_at,
    l.updated_at,
    l.closed_at
from cs.listed_sessions l;

grant select on cs.message_details, cs.listed_sessions, cs.session_details to shema_cs;


-- public

-- Whoever has another role by now, or is deleted, is no instructor.
create view public.instructor_details as
select
    p.user_id,
    u.full_name,
    p.bio,
    p.specialization,
    p.experience_years,
    u.avatar_url,
    p.created_at,
    p.updated_at,
    u.email,
    u.phone_number,
    u.wa_number
from public.instructor_profiles p
join public.users u on u.id = p.user_id
where u.role = 'instructor' and u.deleted_at is null;

grant select on public.instructor_details to shema_admin;
