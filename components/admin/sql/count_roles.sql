select
    t.users as total_users,
    t.admins as total_admins,
    t.instructors as total_instructors,
    t.students as total_students,
    t.new as new_registrations_this_month,
    t.admins as by_role_admin,
    t.instructors as by_role_instructor,
    t.students as by_role_student
from (
    select
        count(*) as users,
        count(*) filter (where u.role = 'admin') as admins,
        count(*) filter (where u.role = 'instructor') as instructors,
        count(*) filter (where u.role = 'student') as students,
        count(*) filter (where u.created_at >= date_trunc('month', now(), 'UTC')) as new
    from public.users u
    where u.deleted_at is null
) as t
