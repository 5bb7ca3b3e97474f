-- name: bound_store
SELECT store_id FROM artifact_store;

-- name: bind_store
-- At first use. Whoever comes second changes nothing.
INSERT INTO artifact_store (store_id) VALUES ($1) ON CONFLICT DO NOTHING;

-- name: adopt_store
-- $1 the id it had, NULL: none; $2 the new one.
INSERT INTO artifact_store AS bound (store_id) VALUES ($2)
ON CONFLICT (only_row) DO UPDATE SET store_id = $2, bind_time = clock_timestamp()
WHERE bound.store_id = $1::text;

-- name: names_in_store
-- Whether any row leads into the store: then an empty one in its place is not the same.
SELECT EXISTS (SELECT FROM checkpoints) OR EXISTS (SELECT FROM operations WHERE result IS NOT NULL) AS named;

-- name: known_checkpoints
SELECT id FROM checkpoints;

-- name: known_operations
-- What the sweep must know of the operations whose directories it meets. $1 ids.
SELECT id, status, kind, attempt, result, checkpoint_id FROM operations WHERE id = ANY ($1);

-- name: list_queued
-- Claimed by nobody yet: under its attempt nothing can have been written.
SELECT id, attempt FROM operations WHERE status = ANY ($1) ORDER BY id;
