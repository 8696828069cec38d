-- The role triggers take this row `for share`: who is about to plan a class or
-- write a profile waits, and then sees what has become of the user.
select u.role, u.firebase_uid
from public.users u
where u.id = $1 and u.deleted_at is null
for update
