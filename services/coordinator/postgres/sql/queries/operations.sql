-- name: create_operation
-- The operation, its first event and the request that asked for it, or none of them.
WITH made AS (
    INSERT INTO operations AS o (id, kind, status, max_attempts, spec, strategy_name, model_digest, requirements, last_sequence)
    VALUES (:id, :kind, 'PENDING', :max_attempts, :spec, :strategy_name, :model_digest, :requirements, 1)
    RETURNING *, add_event(o, :event, :message, :details) AS recorded
), request AS (
    INSERT INTO requests (request_id, method, digest, operation_id)
    SELECT :request_id::text, :method, :request_digest, id FROM made WHERE :request_id::text IS NOT NULL
)
SELECT made.*, c AS checkpoint FROM made LEFT JOIN checkpoints c ON c.id = made.checkpoint_id;

-- name: get_operation
SELECT o.*, c AS checkpoint
FROM operations o LEFT JOIN checkpoints c ON c.id = o.checkpoint_id
WHERE o.id = :id;

-- name: get_request
SELECT method, digest, operation_id, checkpoint_id FROM requests WHERE request_id = :request_id;

-- name: forget_requests
DELETE FROM requests WHERE create_time < clock_timestamp() - :age::interval;

-- name: list_operations
-- Newest first, from below the page token's (create_time, id) on.
SELECT o.*, c AS checkpoint
FROM operations o LEFT JOIN checkpoints c ON c.id = o.checkpoint_id
WHERE (cardinality(:statuses::text[]) = 0 OR o.status = ANY (:statuses))
  AND (cardinality(:kinds::text[]) = 0 OR o.kind = ANY (:kinds))
  AND (NOT :resumable_only::boolean OR (o.status = ANY (:resumable) AND o.checkpoint_id IS NOT NULL))
  AND (:below_time::timestamptz IS NULL OR (o.create_time, o.id) < (:below_time, :below_id::text))
ORDER BY o.create_time DESC, o.id DESC
LIMIT :limit;

-- name: count_operations
SELECT count(*)
FROM operations o
WHERE (cardinality(:statuses::text[]) = 0 OR o.status = ANY (:statuses))
  AND (cardinality(:kinds::text[]) = 0 OR o.kind = ANY (:kinds))
  AND (NOT :resumable_only::boolean OR (o.status = ANY (:resumable) AND o.checkpoint_id IS NOT NULL));

-- name: count_by_status
SELECT status, count(*) AS operations FROM operations GROUP BY status;

-- name: list_live
-- What some worker should be running now.
SELECT o.*, c AS checkpoint
FROM operations o LEFT JOIN checkpoints c ON c.id = o.checkpoint_id
WHERE o.status = ANY (:statuses) AND o.kind = ANY (:kinds) AND (:worker_id::text IS NULL OR o.worker_id = :worker_id)
ORDER BY o.create_time, o.id;

-- name: list_queued
-- Claimed by nobody yet: under its attempt nothing can have been written.
SELECT id, attempt FROM operations WHERE status = ANY (:statuses) ORDER BY id;

-- name: newest_model
-- The newest completed training whose model a backtest with this digest may use.
SELECT o.*, c AS checkpoint
FROM operations o LEFT JOIN checkpoints c ON c.id = o.checkpoint_id
WHERE o.kind = 'TRAINING' AND o.status = 'COMPLETED' AND o.model_digest = :model_digest
ORDER BY o.end_time DESC, o.id DESC
LIMIT 1;

-- name: list_events
SELECT * FROM operation_events
WHERE operation_id = :operation_id AND sequence > :after
ORDER BY sequence
LIMIT :limit;

-- name: record_event
-- An event without a change of status. :fact, a fact's name ("<incarnation>:<sequence>"), so that a fact sent twice is
-- recorded once. :worker_id, the worker that says so, NULL: we ourselves.
WITH moved AS (
    UPDATE operations o SET last_sequence = last_sequence + 1, update_time = clock_timestamp()
    WHERE o.id = :id AND (:attempt::integer IS NULL OR o.attempt = :attempt)
      AND (:statuses::text[] IS NULL OR o.status = ANY (:statuses))
      AND (:worker_id::text IS NULL OR o.worker_id = :worker_id)
      AND (:fact::text IS NULL OR NOT EXISTS (
          SELECT 1 FROM operation_events e WHERE e.operation_id = :id AND e.details ->> 'fact' = :fact
      ))
    RETURNING *, add_event(o, :event, :message, :details) AS recorded
)
SELECT moved.*, c AS checkpoint FROM moved LEFT JOIN checkpoints c ON c.id = moved.checkpoint_id;

-- name: save_progress
-- The newest progress of every run in one statement.
UPDATE operations o
SET progress = report.progress, update_time = clock_timestamp()
FROM unnest(:ids::text[], :attempts::integer[], :worker_ids::text[], :progress::bytea[])
    AS report (id, attempt, worker_id, progress)
WHERE o.id = report.id AND o.attempt = report.attempt AND o.worker_id = report.worker_id AND o.status = ANY (:statuses)
RETURNING o.id, o.attempt;
