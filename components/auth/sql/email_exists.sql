-- Email is citext, so this compares without regard to case.
select exists (
    select from public.users u where u.email = $1 and u.deleted_at is null)
