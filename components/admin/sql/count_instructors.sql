select count(*)
from public.instructor_profiles p
join public.users u on u.id = p.user_id
where u.role = 'instructor' and u.deleted_at is null
  and ($1::text is null or u.full_name ilike $1 or p.bio ilike $1)
  and ($2::text is null
       or exists (select from unnest(p.specialization) as s (subject) where lower(s.subject) = lower($2)))
