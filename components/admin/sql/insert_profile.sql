with p as (
    insert into public.instructor_profiles (user_id, bio, specialization, experience_years)
    values ($1, $2, coalesce($3::text[], '{}'), $4)
    returning *
)
select
    p.user_id, u.full_name, p.bio, p.specialization, p.experience_years, u.avatar_url,
    p.created_at, p.updated_at, u.email, u.phone_number, u.wa_number
from p
join public.users u on u.id = p.user_id
