-- Two classes that begin to overlap at the same moment would wait for each
-- other in the exclusion constraints until PostgreSQL calls it a deadlock, a
-- second later. Who plans for a room or instructor waits here instead; in the
-- order of the keys, so that this cannot deadlock either.
select pg_advisory_xact_lock(calendar.key)
from (
    select hashtextextended('course.calendar:' || owner, 0) as key
    from unnest(array[$1::uuid, $2::uuid]) as owner
    order by key
) as calendar
