update public.users u
set last_login_at = clock_timestamp()
where u.id = $1 and u.deleted_at is null
returning u.last_login_at
