-- Schema booking: requests for a course, and the enrollments that follow.
--
-- A booking made on the public site has no user: the applicant's data stay in
-- the row until an admin confirms it. A pending booking is good for 72 hours.

create schema booking;

create type booking.booking_status as enum
    ('pending', 'confirmed', 'rejected', 'expired', 'cancelled');
create type booking.enrollment_status as enum
    ('pending', 'active', 'completed', 'cancelled');

create sequence booking.registration_number_seq;

create table booking.bookings (
    id uuid constraint bookings_pkey primary key default gen_random_uuid(),
    -- REG-202511-000123. An expression and not a function, since functions are
    -- not executable for components. The nines of the pattern let the number
    -- grow past six digits; lpad() would cut it.
    registration_number text not null
        default 'REG-' || to_char(now() at time zone 'UTC', 'YYYYMM') || '-'
                || to_char(nextval('booking.registration_number_seq'), 'FM9999999999999000000')
        constraint bookings_registration_number_key unique,
    user_id uuid references public.users (id) on delete set null,
    course_id uuid not null references course.courses (id) on delete restrict,
    status booking.booking_status not null default 'pending',
    expires_at timestamptz not null default now() + interval '72 hours',
    confirmed_at timestamptz,
    rejected_at timestamptz,
    cancelled_at timestamptz,
    confirmed_by uuid references public.users (id) on delete set null,
    rejected_by uuid references public.users (id) on delete set null,
    rejection_reason varchar(500),
    applicant_full_name varchar(255),
    applicant_email public.citext
        constraint bookings_applicant_email_length_check
        check (char_length(applicant_email::text) <= 255),
    applicant_wa_number varchar(25),
    experience_level varchar(20)
        constraint bookings_experience_level_check
        check (experience_level in ('beginner', 'intermediate', 'advanced')),
    time_preferences varchar(500),
    preferred_days text[] not null default '{}',
    preferred_time_range jsonb
        constraint bookings_preferred_time_range_check
        check (jsonb_typeof(preferred_time_range) = 'object'
               and preferred_time_range ?& array['start', 'end']),
    start_date_target date,
    guardian_name varchar(255),
    guardian_wa_number varchar(25),
    instrument_owned boolean,
    notes text,
    referral_source varchar(20)
        constraint bookings_referral_source_check
        check (referral_source in
               ('instagram', 'facebook', 'google', 'tiktok', 'friend', 'website', 'other')),
    -- Deleting a schedule clears the columns that name it, one foreign key
    -- after the other in the order in which they were made. The confirmed slot
    -- goes first: without its choice it would break the check below.
    confirmed_slot_id uuid references course.class_schedules (id) on delete set null,
    first_choice_slot_id uuid references course.class_schedules (id) on delete set null,
    second_choice_slot_id uuid references course.class_schedules (id) on delete set null,
    consent_at timestamptz,                 -- set by the public registration
    idempotency_key uuid constraint bookings_idempotency_key_key unique,
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now(),

    constraint bookings_person_check
        check (user_id is not null or applicant_email is not null),
    constraint bookings_applicant_check
        check ((applicant_email is null) = (applicant_full_name is null)),
    constraint bookings_experience_level_required
        check (experience_level is not null or user_id is not null),
    constraint bookings_choices_differ
        check (first_choice_slot_id <> second_choice_slot_id),
    constraint bookings_confirmed_slot_is_a_choice check (
        confirmed_slot_id is null
        or (first_choice_slot_id is null and second_choice_slot_id is null)
        or confirmed_slot_id is not distinct from first_choice_slot_id
        or confirmed_slot_id is not distinct from second_choice_slot_id)
);

alter sequence booking.registration_number_seq owned by booking.bookings.registration_number;

create index bookings_course_id_idx on booking.bookings (course_id);
create index bookings_status_idx on booking.bookings (status);
create index bookings_pending_expires_at_idx on booking.bookings (expires_at)
    where status = 'pending';
create index bookings_pending_applicant_email_idx on booking.bookings (applicant_email)
    where status = 'pending';
create index bookings_pending_user_id_course_id_idx on booking.bookings (user_id, course_id)
    where status = 'pending';
create unique index bookings_one_pending_per_course on booking.bookings (applicant_email, course_id)
    where status = 'pending';

-- So that one user's bookings, and the deletion of a schedule, do not read the
-- whole table.
create index bookings_user_id_created_at_idx on booking.bookings (user_id, created_at, id)
    where user_id is not null;
create index bookings_confirmed_slot_id_idx on booking.bookings (confirmed_slot_id)
    where confirmed_slot_id is not null;
create index bookings_first_choice_slot_id_idx on booking.bookings (first_choice_slot_id)
    where first_choice_slot_id is not null;
create index bookings_second_choice_slot_id_idx on booking.bookings (second_choice_slot_id)
    where second_choice_slot_id is not null;

create trigger set_updated_at before update on booking.bookings
    for each row execute function public.set_updated_at();

-- At most three pending bookings per email (or user) over all courses. The
-- host's setting arrives as `set local shema.booking_max_pending`.
create function booking.check_pending_bookings_limit() returns trigger
language plpgsql
set search_path = pg_catalog, public, pg_temp
as $$
declare
    max_pending constant int :=
        coalesce(nullif(current_setting('shema.booking_max_pending', true), '')::int, 3);
    pending bigint;
begin
    -- Counting is worth something only while nobody else inserts for the same
    -- person. Whoever needs the lock before the insert takes the same key:
    --   pg_advisory_xact_lock(hashtextextended('booking.pending:' || lower(EMAIL), 0))
    -- Email before user, always, so that two inserts cannot deadlock.
    if new.applicant_email is not null then
        perform pg_advisory_xact_lock(
            hashtextextended('booking.pending:' || lower(new.applicant_email::text), 0));
    end if;
    if new.user_id is not null then
        perform pg_advisory_xact_lock(
            hashtextextended('booking.pending:' || new.user_id::text, 0));
    end if;

    select count(*)
    into pending
    from booking.bookings b
    where b.status = 'pending'
      and b.expires_at > now()
      and (b.applicant_email = new.applicant_email or b.user_id = new.user_id);

    if pending >= max_pending then
        raise exception 'there are % pending bookings already', pending
            using errcode = 'SH001', constraint = 'check_pending_bookings_limit';
    end if;
    return new;
end
$$;

create trigger check_pending_bookings_limit
    before insert on booking.bookings
    for each row when (new.status = 'pending')
    execute function booking.check_pending_bookings_limit();

-- Turns at most `batch` overdue bookings into expired ones and says which, so
-- that the caller can emit one event each. Rows that somebody is confirming or
-- rejecting right now are left to them. Runs with the caller's rights.
create function booking.clean_expired_bookings(batch int)
returns table (id uuid, course_id uuid)
language sql
set search_path = pg_catalog, public, pg_temp
as $$
    with overdue as materialized (
        select b.id
        from booking.bookings b
        where b.status = 'pending' and b.expires_at <= now()
        order by b.expires_at, b.id
        -- null would mean "no limit", a negative number an error
        limit greatest(batch, 0)
        for update skip locked
    )
    update booking.bookings b
    set status = 'expired'
    from overdue
    where b.id = overdue.id
    returning b.id, b.course_id
$$;


-- The other half of the circle that begins in 0003_course.sql.
alter table course.schedule_attendees
    add constraint schedule_attendees_booking_id_fkey
    foreign key (booking_id) references booking.bookings (id) on delete restrict;


create table booking.enrollments (
    id uuid constraint enrollments_pkey primary key default gen_random_uuid(),
    student_id uuid not null references public.users (id) on delete restrict,
    course_id uuid not null references course.courses (id) on delete restrict,
    booking_id uuid constraint enrollments_booking_id_key unique
        references booking.bookings (id) on delete restrict,
    status booking.enrollment_status not null default 'pending',
    enrolled_at timestamptz not null default now(),
    completed_at timestamptz,
    notes varchar(1000),
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now(),

    constraint enrollments_student_course_key unique (student_id, course_id)
);

create index enrollments_course_id_idx on booking.enrollments (course_id);
create index enrollments_student_id_idx on booking.enrollments (student_id);
create index enrollments_status_idx on booking.enrollments (status);

create trigger set_updated_at before update on booking.enrollments
    for each row execute function public.set_updated_at();


-- Bookings that still count, with the person's data whether they came with the
-- booking or with the user. An overdue one does not count, swept or not.
create view booking.active_bookings_with_applicants as
select
    b.id,
    b.registration_number,
    b.user_id,
    b.course_id,
    b.status,
    coalesce(b.applicant_full_name, u.full_name) as applicant_full_name,
    coalesce(b.applicant_email, u.email) as applicant_email,
    coalesce(b.applicant_wa_number, u.wa_number, u.phone_number) as applicant_wa_number,
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
    b.confirmed_at,
    b.expires_at,
    b.created_at,
    b.updated_at,
    c.title as course_title,
    c.level as course_level,
    c.price_per_session as course_price_per_session,
    c.duration_minutes as course_duration_minutes
from booking.bookings b
join course.courses c on c.id = b.course_id
left join public.users u on u.id = b.user_id
where b.status = 'confirmed'
   or (b.status = 'pending' and b.expires_at > now());
