-- Fills gaps only. The trigger on it locks the user's row against a change of
-- role and a deletion, whether or not there was a profile.
insert into public.student_profiles as p
    (user_id, parent_name, parent_phone_number, experience_level, learning_goal)
values ($1, $2, $3, $4, $5)
on conflict (user_id) do update
set parent_name = coalesce(p.parent_name, excluded.parent_name),
    parent_phone_number = coalesce(p.parent_phone_number, excluded.parent_phone_number),
    experience_level = coalesce(p.experience_level, excluded.experience_level),
    learning_goal = coalesce(p.learning_goal, excluded.learning_goal)
