delete from public.instructor_profiles p
where p.user_id = $1
