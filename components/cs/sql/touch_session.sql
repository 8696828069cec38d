-- The trigger set_updated_at does the rest.
update cs.sessions set updated_at = now() where id = $1
