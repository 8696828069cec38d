-- A flag goes before each column that can be cleared: null is a value there.
update public.instructor_profiles p
set bio = case when $2 then $3 else p.bio end,
    specialization = coalesce($4, p.specialization),
    experience_years = case when $5 then $6 else p.experience_years end
from public.users u
where p.user_id = $1 and u.id = p.user_id and u.role = 'instructor' and u.deleted_at is null
returning
    p.user_id, u.full_name, p.bio, p.specialization, p.experience_years, u.avatar_url,
    p.created_at, p.updated_at, u.email, u.phone_number, u.wa_number
