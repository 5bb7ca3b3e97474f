-- name: try_lead
-- Held by the session: it goes when the process, or the server, goes.
SELECT pg_try_advisory_lock($1);

-- name: take_epoch
-- Greater than any before, also than those that a restored database has forgotten.
INSERT INTO coordinators (epoch, host, process_id, listen)
SELECT greatest(coalesce(max(epoch), 0) + 1, extract(epoch FROM clock_timestamp())::bigint), $1, $2, $3
FROM coordinators
RETURNING epoch;

-- name: newest_coordinator
SELECT epoch, host, process_id, listen, start_time FROM coordinators ORDER BY epoch DESC LIMIT 1;
