insert into public.instructor_profiles (user_id)
values ($1)
on conflict (user_id) do nothing
