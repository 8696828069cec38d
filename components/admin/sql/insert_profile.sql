insert into public.instructor_profiles (user_id, bio, specialization, experience_years)
values ($1, $2, coalesce($3::text[], '{}'), $4)
