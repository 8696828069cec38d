-- Demo data: a small music academy to click around in. Not a migration (a file
-- without a version number is not applied); the host runs it on request.
--
-- Two statements. The first takes one parameter, $1: the Argon2id hash of the
-- demo admin's password. The second takes none. Both may run at every start: the
-- second one stops at once if its data have been here before, so what was
-- changed or deleted since stays so.
--
-- Nobody here exists: `contoh` is Indonesian for `example`, and no number in
-- Indonesia begins with +620. Ids end in a number that says what it is: 1xx
-- people, 2xx courses, 3xx rooms, 4xx schedules, 5xx bookings, 6xx enrollments.

insert into public.users
    (id, full_name, email, password_hash, auth_provider, email_verified, role)
values
    ('d3300000-0000-4000-8000-000000000100', 'Admin Contoh', 'admin@demo.shema.example',
     $1, 'password', true, 'admin')
on conflict do nothing;
-- end of statement 1

do $$
declare
    -- An id is this and three digits.
    demo constant text := 'd3300000-0000-4000-8000-000000000';
begin
    -- Users are never deleted for good, so the first instructor tells whether
    -- the data have been loaded before.
    if exists (select from public.users u where u.id = (demo || '101')::uuid) then
        return;
    end if;

    -- `on conflict do nothing`: two nodes may start at once, and rooms or emails
    -- of these names may be here already. Each row that refers to others is
    -- therefore joined to them and left out where one is missing.

    insert into public.users
        (id, full_name, email, auth_provider, role, wa_number, phone_number)
    select (demo || v.id)::uuid, v.full_name, v.email, v.auth_provider,
           v.role::public.user_role, v.wa_number, v.wa_number
    from (values
        ('101', 'Melati Contoh',  'melati@demo.shema.example',  'admin',               'instructor', '+620000000101'),
        ('102', 'Bagus Contoh',   'bagus@demo.shema.example',   'admin',               'instructor', '+620000000102'),
        ('103', 'Kirana Contoh',  'kirana@demo.shema.example',  'admin',               'instructor', '+620000000103'),
        ('111', 'Ayu Contoh',     'ayu@demo.shema.example',     'course_registration', 'student',    '+620000000111'),
        ('112', 'Dimas Contoh',   'dimas@demo.shema.example',   'course_registration', 'student',    '+620000000112'),
        ('113', 'Putri Contoh',   'putri@demo.shema.example',   'course_registration', 'student',    '+620000000113'),
        ('114', 'Rangga Contoh',  'rangga@demo.shema.example',  'course_registration', 'student',    '+620000000114')
    ) as v (id, full_name, email, auth_provider, role, wa_number)
    on conflict do nothing;

    insert into public.instructor_profiles (user_id, bio, specialization, experience_years)
    select u.id, v.bio, v.specialization, v.experience_years
    from (values
        ('101', 'Teaches piano and singing, from the first scale to the conservatory entrance exam.',
         array['piano', 'vocals'], 12),
        ('102', 'Guitar and bass; twenty years on stage, and patient with beginners.',
         array['guitar', 'bass', 'ukulele'], 20),
        ('103', 'Violin and drums. Likes ensembles more than anything.',
         array['violin', 'drums'], 8)
    ) as v (id, bio, specialization, experience_years)
    join public.users u on u.id = (demo || v.id)::uuid
    on conflict do nothing;

    insert into public.student_profiles
        (user_id, parent_name, parent_phone_number, preferred_instruments, experience_level, learning_goal)
    select u.id, v.parent_name, v.parent_phone_number, v.preferred_instruments,
           v.experience_level, v.learning_goal
    from (values
        ('111', 'Sari Contoh', '+620000000121', array['piano'],  'beginner',     'Play for the family at New Year'),
        ('112', null,          null,            array['guitar'], 'intermediate', 'Accompany singers'),
        ('113', 'Indra Contoh', '+620000000123', array['violin'], 'beginner',    'Join the school orchestra'),
        ('114', null,          null,            array['vocals'], 'advanced',     'Audition for a musical')
    ) as v (id, parent_name, parent_phone_number, preferred_instruments, experience_level, learning_goal)
    join public.users u on u.id = (demo || v.id)::uuid
    on conflict do nothing;

    insert into course.courses
        (id, title, description, level, instrument, price_per_session, duration_minutes, max_students)
    select (demo || v.id)::uuid, v.title, v.description, v.level::course.course_level,
           v.instrument, v.price, v.minutes, v.students
    from (values
        ('201', 'Piano for Beginners',     'Posture, reading, first pieces with both hands.',    'beginner',     'piano',   150000, 60, 4),
        ('202', 'Piano Masterclass',       'Repertoire and interpretation, one to one.',         'advanced',     'piano',   350000, 90, 1),
        ('203', 'Acoustic Guitar Basics',  'Chords, strumming, ten songs to take home.',         'beginner',     'guitar',  125000, 60, 6),
        ('204', 'Fingerstyle Guitar',      'Bass, chords and melody at the same time.',          'intermediate', 'guitar',  200000, 60, 3),
        ('205', 'Violin Foundations',      'From holding the bow to the first position.',        'beginner',     'violin',  175000, 45, 3),
        ('206', 'Drum Workshop',           'Grooves, fills and playing to a click.',             'intermediate', 'drums',   180000, 60, 2),
        ('207', 'Voice and Breath',        'Technique and repertoire for trained voices.',       'advanced',     'vocals',  275000, 60, 2),
        ('208', 'Bass and Band Night',     'Bring an instrument and play together, any level.',  'all_levels',   'bass',    100000, 120, 8)
    ) as v (id, title, description, level, instrument, price, minutes, students)
    on conflict do nothing;

    insert into course.rooms (id, name, capacity, location, description, instruments)
    select (demo || v.id)::uuid, v.name, v.capacity, v.location, v.description, v.instruments
    from (values
        ('301', 'Piano Room',   4,  'Ground floor', 'Two upright pianos',           array['piano']),
        ('302', 'String Room',  6,  'First floor',  'Quiet, with music stands',     array['guitar', 'violin']),
        ('303', 'Drum Studio',  3,  'Basement',     'Two kits, well insulated',     array['drums']),
        ('304', 'Hall',         12, 'Ground floor', 'Stage, amplifiers and a grand piano', array['piano', 'bass', 'vocals'])
    ) as v (id, name, capacity, location, description, instruments)
    on conflict do nothing;

    -- The next 14 days from tomorrow, in Jakarta's time of day.
    insert into course.class_schedules
        (id, course_id, instructor_id, room_id, start_time, end_time, max_attendees, created_by)
    select (demo || v.id)::uuid, c.id, u.id, r.id,
           t.start_time,
           t.start_time + make_interval(mins => c.duration_minutes),
           least(c.max_students, r.capacity),
           (select a.id from public.users a where a.id = (demo || '100')::uuid)
    from (values
        --     course  instr. room   day  time
        ('401', '201', '101', '301',  1, '15:00'),
        ('402', '203', '102', '302',  1, '15:00'),
        ('403', '206', '103', '303',  1, '16:00'),
        ('404', '207', '101', '304',  2, '17:00'),
        ('405', '205', '103', '302',  2, '15:30'),
        ('406', '204', '102', '302',  3, '16:00'),
        ('407', '202', '101', '301',  3, '16:00'),
        ('408', '208', '102', '304',  4, '19:00'),
        ('409', '206', '103', '303',  4, '16:00'),
        ('410', '201', '101', '301',  5, '10:00'),
        ('411', '205', '103', '302',  5, '10:00'),
        ('412', '203', '102', '302',  5, '11:00'),
        ('413', '201', '101', '301',  8, '15:00'),
        ('414', '203', '102', '302',  8, '15:00'),
        ('415', '206', '103', '303',  8, '16:00'),
        ('416', '207', '101', '304',  9, '17:00'),
        ('417', '205', '103', '302',  9, '15:30'),
        ('418', '204', '102', '302', 10, '16:00'),
        ('419', '202', '101', '301', 10, '16:00'),
        ('420', '208', '102', '304', 11, '19:00'),
        ('421', '201', '101', '301', 12, '10:00'),
        ('422', '205', '103', '302', 14, '10:00')
    ) as v (id, course_id, instructor_id, room_id, day, time)
    join course.courses c on c.id = (demo || v.course_id)::uuid
    join public.users u on u.id = (demo || v.instructor_id)::uuid
    join course.rooms r on r.id = (demo || v.room_id)::uuid
    cross join lateral (
        select ((now() at time zone 'Asia/Jakarta')::date + v.day + v.time::time)
                   at time zone 'Asia/Jakarta' as start_time
    ) as t
    on conflict do nothing;

    -- Four students, each with a confirmed booking, a seat and an enrollment.
    insert into booking.bookings
        (id, user_id, course_id, status, confirmed_at, confirmed_by, applicant_full_name,
         applicant_email, applicant_wa_number, experience_level, preferred_days,
         preferred_time_range, first_choice_slot_id, confirmed_slot_id, referral_source, consent_at)
    select (demo || v.id)::uuid, u.id, s.course_id, 'confirmed', now(),
           (select a.id from public.users a where a.id = (demo || '100')::uuid),
           u.full_name, u.email, u.wa_number, p.experience_level, v.preferred_days,
           '{"start": "15:00", "end": "19:00"}', s.id, s.id, v.referral_source, now()
    from (values
        ('501', '111', '401', array['saturday', 'sunday'],  'instagram'),
        ('502', '112', '406', array['wednesday'],           'friend'),
        ('503', '113', '405', array['tuesday', 'saturday'], 'google'),
        ('504', '114', '404', array['thursday'],            'website')
    ) as v (id, student_id, schedule_id, preferred_days, referral_source)
    join public.users u on u.id = (demo || v.student_id)::uuid
    join public.student_profiles p on p.user_id = u.id
    join course.class_schedules s on s.id = (demo || v.schedule_id)::uuid
    on conflict do nothing;

    insert into course.schedule_attendees (schedule_id, booking_id, user_id)
    select b.confirmed_slot_id, b.id, b.user_id
    from booking.bookings b
    where b.id in ((demo || '501')::uuid, (demo || '502')::uuid,
                   (demo || '503')::uuid, (demo || '504')::uuid)
    on conflict do nothing;

    insert into booking.enrollments (id, student_id, course_id, booking_id, status)
    select (demo || v.id)::uuid, b.user_id, b.course_id, b.id, 'active'
    from (values ('601', '501'), ('602', '502'), ('603', '503'), ('604', '504')) as v (id, booking_id)
    join booking.bookings b on b.id = (demo || v.booking_id)::uuid
    on conflict do nothing;
end
$$;
