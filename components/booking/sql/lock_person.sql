-- The key of the trigger check_pending_bookings_limit: whoever holds it can look
-- at the pending bookings of an email (or user) and still be right at the insert.
select pg_advisory_xact_lock(hashtextextended('booking.pending:' || lower($1::text), 0))
