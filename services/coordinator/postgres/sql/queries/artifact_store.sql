-- name: bound_store
SELECT store_id FROM artifact_store;

-- name: bind_store
-- At first use. Whoever comes second changes nothing.
INSERT INTO artifact_store (store_id) VALUES (:store_id) ON CONFLICT DO NOTHING;

-- name: adopt_store
-- :before, the id it had, NULL: none.
INSERT INTO artifact_store AS bound (store_id) VALUES (:store_id)
ON CONFLICT (only_row) DO UPDATE SET store_id = :store_id, bind_time = clock_timestamp()
WHERE bound.store_id = :before::text;

-- name: names_in_store
-- Whether any row leads into the store: then an empty one in its place is not the same.
SELECT EXISTS (SELECT FROM checkpoints) OR EXISTS (SELECT FROM operations WHERE result IS NOT NULL) AS named;

-- name: known_checkpoints
SELECT id FROM checkpoints;

-- name: known_operations
-- What the sweep must know of the operations whose directories it meets.
SELECT id, status, kind, attempt, result, checkpoint_id FROM operations WHERE id = ANY (:ids);
