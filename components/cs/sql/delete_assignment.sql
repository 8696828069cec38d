delete from cs.admin_assignments where session_id = $1
