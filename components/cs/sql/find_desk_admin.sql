select u.full_name, now() as seen_at from public.users u where u.id = $1 and u.deleted_at is null
