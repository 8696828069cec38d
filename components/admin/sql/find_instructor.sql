select
    p.user_id, u.full_name, p.bio, p.specialization, p.experience_years, u.avatar_url,
    p.created_at, p.updated_at, u.email, u.phone_number, u.wa_number
from public.instructor_profiles p
join public.users u on u.id = p.user_id
where p.user_id = $1 and u.role = 'instructor' and u.deleted_at is null
