select count(*)
from public.instructor_details i
where ($1::text is null or i.full_name ilike $1 or i.bio ilike $1)
  and ($2::text is null
       or exists (select from unnest(i.specialization) as s (subject) where lower(s.subject) = lower($2)))
