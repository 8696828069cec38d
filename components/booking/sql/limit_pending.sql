-- For the trigger, until the end of the transaction.
select set_config('shema.booking_max_pending', $1, true)
