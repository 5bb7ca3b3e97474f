-- name: try_lead
-- Held by the session: it goes when the process, or the server, goes.
SELECT pg_try_advisory_lock($1);

-- name: take_epoch
INSERT INTO coordinators (host, process_id, listen) VALUES ($1, $2, $3) RETURNING epoch;

-- name: newest_coordinator
SELECT epoch, host, process_id, listen, start_time FROM coordinators ORDER BY epoch DESC LIMIT 1;
