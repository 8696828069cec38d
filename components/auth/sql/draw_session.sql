-- The id has to be known before the row, because the row holds the hash of a
-- token that names it. Drawn here, where "now" is as well.
select gen_random_uuid() as id, clock_timestamp() as issued_at
