-- Two who take the last two admins away at once would each see the other one.
-- Held to the end of the transaction; taken after a row, so nothing may be
-- locked after it.
select pg_advisory_xact_lock(hashtextextended('admin.last_admin', 0))
