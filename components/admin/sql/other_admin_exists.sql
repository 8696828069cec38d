select exists (
    select
    from public.users u
    where u.role = 'admin' and u.deleted_at is null and u.id <> $1)
