-- name: create_operation
-- The operation, its first event and the request that asked for it, or none of them.
WITH made AS (
    INSERT INTO operations (id, kind, status, max_attempts, spec, strategy_name, model_digest, requirements, last_sequence)
    VALUES ($1, $2, 'PENDING', $3, $4, $5, $6, $7, 1)
    RETURNING *
), event AS (
    INSERT INTO operation_events (operation_id, sequence, time, attempt, type, status, message, details)
    SELECT id, last_sequence, update_time, attempt, 'CREATED', status, $8, $9 FROM made
), request AS (
    INSERT INTO requests (request_id, method, digest, operation_id)
    SELECT $10::text, $11, $12, id FROM made WHERE $10::text IS NOT NULL
)
SELECT made.*, c AS checkpoint FROM made LEFT JOIN checkpoints c ON c.id = made.checkpoint_id;

-- name: get_operation
SELECT o.*, c AS checkpoint
FROM operations o LEFT JOIN checkpoints c ON c.id = o.checkpoint_id
WHERE o.id = $1;

-- name: get_request
SELECT method, digest, operation_id, checkpoint_id FROM requests WHERE request_id = $1;

-- name: forget_requests
DELETE FROM requests WHERE create_time < clock_timestamp() - $1::interval;

-- name: list_operations
-- Newest first, from below the page token's (create_time, id) on.
SELECT o.*, c AS checkpoint
FROM operations o LEFT JOIN checkpoints c ON c.id = o.checkpoint_id
WHERE (cardinality($1::text[]) = 0 OR o.status = ANY ($1))
  AND (cardinality($2::text[]) = 0 OR o.kind = ANY ($2))
  AND (NOT $3::boolean OR (o.status = ANY ($4) AND o.checkpoint_id IS NOT NULL))
  AND ($5::timestamptz IS NULL OR (o.create_time, o.id) < ($5, $6::text))
ORDER BY o.create_time DESC, o.id DESC
LIMIT $7;

-- name: count_operations
SELECT count(*)
FROM operations o
WHERE (cardinality($1::text[]) = 0 OR o.status = ANY ($1))
  AND (cardinality($2::text[]) = 0 OR o.kind = ANY ($2))
  AND (NOT $3::boolean OR (o.status = ANY ($4) AND o.checkpoint_id IS NOT NULL));

-- name: count_by_status
SELECT status, count(*) AS operations FROM operations GROUP BY status;

-- name: list_live
-- What some worker should be running now.
SELECT o.*, c AS checkpoint
FROM operations o LEFT JOIN checkpoints c ON c.id = o.checkpoint_id
WHERE o.status = ANY ($1) AND o.kind = ANY ($2) AND ($3::text IS NULL OR o.worker_id = $3)
ORDER BY o.create_time, o.id;

-- name: newest_model
-- The newest completed training whose model a backtest with this digest may use.
SELECT o.*, c AS checkpoint
FROM operations o LEFT JOIN checkpoints c ON c.id = o.checkpoint_id
WHERE o.kind = 'TRAINING' AND o.status = 'COMPLETED' AND o.model_digest = $1
ORDER BY o.end_time DESC, o.id DESC
LIMIT 1;

-- name: list_events
SELECT * FROM operation_events
WHERE operation_id = $1 AND sequence > $2
ORDER BY sequence
LIMIT $3;

-- name: record_event
-- An event without a change of status. $7: a fact's name ("<incarnation>:<sequence>"), so that a fact sent twice is recorded once.
-- $8: the worker that says so, NULL: we ourselves.
WITH recorded AS (
    UPDATE operations o SET last_sequence = last_sequence + 1, update_time = clock_timestamp()
    WHERE o.id = $1 AND ($2::integer IS NULL OR o.attempt = $2)
      AND ($3::text[] IS NULL OR o.status = ANY ($3))
      AND ($8::text IS NULL OR o.worker_id = $8)
      AND ($7::text IS NULL OR NOT EXISTS (
          SELECT 1 FROM operation_events e WHERE e.operation_id = $1 AND e.details ->> 'fact' = $7
      ))
    RETURNING *
), event AS (
    INSERT INTO operation_events (operation_id, sequence, time, attempt, type, status, message, details)
    SELECT id, last_sequence, update_time, attempt, $4, status, $5, $6 FROM recorded
)
SELECT recorded.*, c AS checkpoint FROM recorded LEFT JOIN checkpoints c ON c.id = recorded.checkpoint_id;

-- name: save_progress
-- The newest progress of every run in one statement.
UPDATE operations o
SET progress = report.progress, update_time = clock_timestamp()
FROM unnest($1::text[], $2::integer[], $3::text[], $4::bytea[]) AS report (id, attempt, worker_id, progress)
WHERE o.id = report.id AND o.attempt = report.attempt AND o.worker_id = report.worker_id AND o.status = ANY ($5)
RETURNING o.id, o.attempt;
