-- Schema course: what is taught, where, when and by whom; who sits in a class.
--
-- schedule_attendees also refers to booking.bookings, which refers back to the
-- tables here; that one foreign key is added in 0004_booking.sql.

create schema course;

create type course.course_level as enum ('beginner', 'intermediate', 'advanced', 'all_levels');
create type course.attendance_status as enum ('present', 'absent', 'excused', 'not_recorded');


create table course.courses (
    id uuid constraint courses_pkey primary key default gen_random_uuid(),
    title varchar(255) not null,
    description text,
    level course.course_level not null,
    price_per_session numeric(10, 2) not null       -- IDR
        constraint courses_price_per_session_check check (price_per_session >= 0),
    duration_minutes int not null
        constraint courses_duration_minutes_check check (duration_minutes > 0),
    max_students int not null default 1             -- per class, not per course
        constraint courses_max_students_check check (max_students > 0),
    instrument varchar(100),
    is_active boolean not null default true,
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now()
);

create index courses_is_active_level_idx on course.courses (is_active, level);
create index courses_instrument_idx on course.courses (instrument);
create index courses_created_at_idx on course.courses (created_at);

create trigger set_updated_at before update on course.courses
    for each row execute function public.set_updated_at();


create table course.rooms (
    id uuid constraint rooms_pkey primary key default gen_random_uuid(),
    name varchar(100) not null,
    capacity int constraint rooms_capacity_check check (capacity > 0),
    description text,
    location varchar(255),
    instruments text[] not null default '{}',
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now()
);

create unique index rooms_name_key on course.rooms (lower(name));

create trigger set_updated_at before update on course.rooms
    for each row execute function public.set_updated_at();


-- One row is one class: one hour or so of a course in a room.
create table course.class_schedules (
    id uuid constraint class_schedules_pkey primary key default gen_random_uuid(),
    course_id uuid not null references course.courses (id) on delete restrict,
    instructor_id uuid not null references public.users (id) on delete restrict,
    room_id uuid not null references course.rooms (id) on delete restrict,
    start_time timestamptz not null,
    end_time timestamptz not null,
    max_attendees int not null
        constraint class_schedules_max_attendees_check check (max_attendees > 0),
    -- The number of rows in schedule_attendees. Only the trigger
    -- enforce_class_capacity writes it.
    current_attendees int not null default 0,
    created_by uuid references public.users (id) on delete set null,
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now(),

    constraint class_schedules_time_order check (start_time < end_time),
    constraint class_schedules_current_attendees_check
        check (current_attendees between 0 and max_attendees),
    -- Half-open: a class may begin when the one before it ends.
    constraint class_schedules_room_overlap
        exclude using gist (room_id with =, tstzrange(start_time, end_time, '[)') with &&),
    constraint class_schedules_instructor_overlap
        exclude using gist (instructor_id with =, tstzrange(start_time, end_time, '[)') with &&)
);

create index class_schedules_start_time_idx on course.class_schedules (start_time);
create index class_schedules_room_id_start_time_idx on course.class_schedules (room_id, start_time);
create index class_schedules_instructor_id_start_time_idx
    on course.class_schedules (instructor_id, start_time);
create index class_schedules_course_id_start_time_idx
    on course.class_schedules (course_id, start_time);

create trigger set_updated_at before update on course.class_schedules
    for each row execute function public.set_updated_at();

create function course.enforce_instructor_role() returns trigger
language plpgsql
security definer
set search_path = pg_catalog, public, pg_temp
as $$
begin
    -- An update that leaves teacher and time alone is let through: seats are
    -- still taken in past classes of somebody who no longer teaches, and each
    -- seat is an update of this row.
    if tg_op = 'UPDATE'
       and (new.instructor_id, new.start_time, new.end_time)
         = (old.instructor_id, old.start_time, old.end_time) then
        return new;
    end if;
    if not public.user_has_role(new.instructor_id, 'instructor') then
        raise exception 'user % is not an instructor', new.instructor_id
            using errcode = 'SH003', constraint = 'enforce_instructor_role';
    end if;
    return new;
end
$$;

create trigger enforce_instructor_role
    before insert or update on course.class_schedules
    for each row execute function course.enforce_instructor_role();


-- One row is a seat in a class and, once marked, the attendance.
create table course.schedule_attendees (
    schedule_id uuid not null references course.class_schedules (id) on delete cascade,
    booking_id uuid not null,               -- foreign key: see 0004_booking.sql
    user_id uuid references public.users (id) on delete set null,
    status course.attendance_status not null default 'not_recorded',
    attended boolean generated always as (
        case status
            when 'present' then true
            when 'absent' then false
            when 'excused' then false
        end) stored,
    attended_at timestamptz,
    recorded_by uuid references public.users (id) on delete set null,
    notes varchar(500),
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now(),

    constraint schedule_attendees_pkey primary key (schedule_id, booking_id)
);

create index schedule_attendees_booking_id_idx on course.schedule_attendees (booking_id);

create trigger set_updated_at before update on course.schedule_attendees
    for each row execute function public.set_updated_at();

-- Keeps class_schedules.current_attendees equal to the number of rows here and
-- never above max_attendees. Owner's rights, so that booking can take seats
-- without a right to update schedules.
create function course.enforce_class_capacity() returns trigger
language plpgsql
security definer
set search_path = pg_catalog, public, pg_temp
as $$
declare
    seats record;
begin
    if tg_op = 'DELETE' then
        -- No row when the schedule itself is being deleted.
        update course.class_schedules s
        set current_attendees = s.current_attendees - 1
        where s.id = old.schedule_id;
        return null;
    end if;

    if tg_op = 'UPDATE' then
        -- A seat does not move between classes; nothing would count it.
        raise exception 'an attendee stays in class %', old.schedule_id
            using errcode = 'check_violation', constraint = 'schedule_attendees_seat_stays';
    end if;

    -- The row lock decides who gets the last seat. `no key`, because a booking
    -- that names the schedule already holds a key share on it: with plain
    -- `for update`, two confirmations for one class would deadlock.
    select s.current_attendees, s.max_attendees
    into seats
    from course.class_schedules s
    where s.id = new.schedule_id
    for no key update;

    -- An unknown schedule is the foreign key's to refuse. A pair that is here
    -- already takes no second seat: the primary key refuses it, or the
    -- statement says `on conflict do nothing`.
    if not found
       or exists (
           select
           from course.schedule_attendees a
           where a.schedule_id = new.schedule_id and a.booking_id = new.booking_id) then
        return new;
    end if;

    if seats.current_attendees >= seats.max_attendees then
        raise exception 'class % is full', new.schedule_id
            using errcode = 'SH002', constraint = 'enforce_class_capacity';
    end if;

    update course.class_schedules s
    set current_attendees = s.current_attendees + 1
    where s.id = new.schedule_id;
    return new;
end
$$;

create trigger enforce_class_capacity
    before insert on course.schedule_attendees
    for each row execute function course.enforce_class_capacity();

create trigger enforce_class_capacity_on_delete
    after delete on course.schedule_attendees
    for each row execute function course.enforce_class_capacity();

create trigger schedule_attendees_seat_stays
    before update of schedule_id on course.schedule_attendees
    for each row when (old.schedule_id <> new.schedule_id)
    execute function course.enforce_class_capacity();
