-- A trigger revokes the user's sessions.
update public.users u
set deleted_at = clock_timestamp()
where u.id = $1 and u.deleted_at is null
