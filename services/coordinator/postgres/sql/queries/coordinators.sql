-- name: try_lead
-- Held by the session: it goes when the process, or the server, goes.
SELECT pg_try_advisory_lock(:key);

-- name: take_term
-- Greater than any before, also than those that a restored database has forgotten.
INSERT INTO coordinators (term, host, process_id, listen)
SELECT greatest(coalesce(max(term), 0) + 1, extract(epoch FROM clock_timestamp())::bigint), :host, :process_id, :listen
FROM coordinators
RETURNING term;

-- name: newest_coordinator
SELECT term, host, process_id, listen, start_time FROM coordinators ORDER BY term DESC LIMIT 1;
