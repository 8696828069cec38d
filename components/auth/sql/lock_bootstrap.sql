-- Held to the end of the transaction, over all routes that can make an admin.
select pg_advisory_xact_lock(hashtextextended('auth.first_admin', 0))
