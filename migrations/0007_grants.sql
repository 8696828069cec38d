-- Who may do what: all rights of the five component roles, on one page.
--
-- What is not granted here is denied. The owner of the tables (the login of
-- DATABASE_URL) is used by the host alone and needs no grant.
--
-- Column lists are deliberate: a column added to such a table later is closed
-- until a migration opens it.

-- Schemas. A role enters those in which it has a right on some table.
grant usage on schema public to shema_auth, shema_admin, shema_course, shema_booking, shema_cs;
grant usage on schema course to shema_admin, shema_course, shema_booking;
grant usage on schema booking to shema_course, shema_booking;
grant usage on schema cs to shema_cs;


-- public.users. password_hash is for shema_auth alone.
grant select, insert on public.users to shema_auth;
grant update (firebase_uid, provider, auth_provider, password_hash, email_verified, last_login_at)
    on public.users to shema_auth;

grant select (id, full_name, email, firebase_uid, auth_provider, provider, email_verified, role,
              phone_number, wa_number, address, avatar_url, last_login_at, deleted_at,
              created_at, updated_at),
      insert (id, full_name, email, firebase_uid, auth_provider, provider, email_verified, role,
              phone_number, wa_number, address, avatar_url, last_login_at, deleted_at,
              created_at, updated_at),
      update (full_name, email, phone_number, wa_number, address, avatar_url, role,
              email_verified, last_login_at, deleted_at)
    on public.users to shema_admin;

grant select (id, full_name, role, deleted_at) on public.users to shema_course, shema_cs;

grant select (id, full_name, email, phone_number, wa_number, role, deleted_at),
      insert (full_name, email, wa_number, role, auth_provider, email_verified)
    on public.users to shema_booking;

-- public, the rest. Nobody has a right on outbox and outbox_secret.
grant select, insert, update, delete on public.instructor_profiles to shema_admin;

grant select, insert, update on public.student_profiles to shema_admin;
grant select (user_id, parent_name, parent_phone_number, experience_level, learning_goal),
      insert (user_id, parent_name, parent_phone_number, experience_level, learning_goal),
      update (parent_name, parent_phone_number, experience_level, learning_goal)
    on public.student_profiles to shema_booking;

grant select, insert, update on public.refresh_sessions to shema_auth;


-- course
grant select, insert, update, delete on course.courses to shema_course;
grant select on course.courses to shema_booking;

grant select, insert, update, delete on course.rooms to shema_course;

grant select, insert, update, delete on course.class_schedules to shema_course;
grant select on course.class_schedules to shema_admin, shema_booking;

grant select, insert, update on course.schedule_attendees to shema_course;
grant select, insert (schedule_id, booking_id, user_id)
    on course.schedule_attendees to shema_booking;


-- booking
grant select, insert, update, delete on booking.bookings to shema_booking;
grant usage on sequence booking.registration_number_seq to shema_booking;
grant select (id, user_id, course_id, status, applicant_full_name)
    on booking.bookings to shema_course;

grant select, insert, update on booking.enrollments to shema_booking;
grant select (id, course_id) on booking.enrollments to shema_course;

grant select on booking.active_bookings_with_applicants to shema_booking;


-- cs
grant select, insert, update on cs.sessions to shema_cs;
grant select, insert on cs.messages to shema_cs;
grant select, insert, update, delete on cs.admin_assignments to shema_cs;


-- Functions. 0002_public.sql has taken execute from everybody.
grant execute on function booking.clean_expired_bookings(int) to shema_booking;
grant execute on function public.emit_event(text, uuid, text, text, jsonb)
    to shema_auth, shema_admin, shema_course, shema_booking, shema_cs;


-- The database: connect, and no temporary tables, which everybody may otherwise
-- create. Only its owner can change that. Note that a database made from this
-- one as a template does not inherit these two.
do $$
begin
    if (select pg_has_role(current_user, d.datdba, 'usage')
        from pg_database d
        where d.datname = current_database()) then
        execute format(
            'grant connect on database %I to shema_auth, shema_admin, shema_course, shema_booking, shema_cs',
            current_database());
        execute format('revoke temporary on database %I from public', current_database());
    else
        raise warning 'The database login "%" does not own the database "%", so components keep the right to create temporary tables.',
            current_user, current_database()
            using hint = format('Let its owner run: revoke temporary on database %I from public.',
                                current_database());
    end if;
end
$$;
