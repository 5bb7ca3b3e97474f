-- name: save_checkpoint
-- The catalogue's row and the operation's pointer change together. $1 operation, $2 attempt, $3 statuses,
-- $4 id, $5 type, $6 unit name, $7 unit, $8 step, $9 manifest digest, $10 size, $11 data digest, $12 time,
-- $13 event type, $14 message, $15 details, $16 the attempt that saved it, $17 seconds between two events of periodic
-- ones: the story tells of the first of an attempt and then of one in so many seconds, $18 the worker that says so, NULL:
-- we ourselves.
WITH story AS MATERIALIZED (
    SELECT $13 <> 'CHECKPOINT_SAVED' OR $5 <> 'PERIODIC' OR coalesce((
        -- The newest such event; found from the story's end backwards.
        SELECT e.time <= clock_timestamp() - make_interval(secs => $17) FROM operation_events e
        WHERE e.operation_id = $1 AND e.attempt = $2 AND e.type = $13 AND e.details ->> 'type' = 'PERIODIC'
        ORDER BY e.sequence DESC LIMIT 1
    ), true) AS recorded
), live AS (
    UPDATE operations SET
        -- Reports may come late: the pointer never goes back.
        checkpoint_id = CASE
            WHEN EXISTS (
                SELECT 1 FROM checkpoints c
                WHERE c.id = operations.checkpoint_id AND (c.attempt, c.unit, c.step) > ($16::integer, $7::bigint, $8::bigint)
            ) THEN checkpoint_id ELSE $4 END,
        update_time = clock_timestamp(), last_sequence = last_sequence + story.recorded::integer
    FROM story
    WHERE id = $1 AND attempt = $2 AND status = ANY ($3) AND NOT EXISTS (SELECT 1 FROM checkpoints WHERE id = $4)
      AND ($18::text IS NULL OR worker_id = $18)
    RETURNING operations.*, story.recorded
), saved AS (
    INSERT INTO checkpoints (id, operation_id, attempt, type, unit_name, unit, step, manifest_digest, size_bytes,
                             data_digest, create_time)
    SELECT $4, id, $16, $5, $6, $7, $8, $9, $10, $11, $12 FROM live
), event AS (
    INSERT INTO operation_events (operation_id, sequence, time, attempt, type, status, message, details)
    SELECT id, last_sequence, update_time, attempt, $13, status, $14, $15 FROM live WHERE recorded
)
SELECT live.*, NULL AS checkpoint FROM live;

-- name: get_checkpoint
SELECT * FROM checkpoints WHERE id = $1;

-- name: list_checkpoints_of
-- Newest first: the order in which a resume tries them.
SELECT * FROM checkpoints WHERE operation_id = $1 ORDER BY attempt DESC, unit DESC, step DESC, create_time DESC;

-- name: list_checkpoints
SELECT * FROM checkpoints
WHERE ($1::text IS NULL OR operation_id = $1)
  AND ($2::timestamptz IS NULL OR (create_time, id) < ($2, $3::text))
ORDER BY create_time DESC, id DESC
LIMIT $4;

-- name: mark_corrupt
UPDATE checkpoints SET corrupt_time = clock_timestamp() WHERE id = $1 AND corrupt_time IS NULL;

-- name: drop_older
-- All but the newest $2 good ones.
DELETE FROM checkpoints WHERE id IN (
    SELECT id FROM checkpoints WHERE operation_id = $1
    ORDER BY (corrupt_time IS NOT NULL), attempt DESC, unit DESC, step DESC, create_time DESC
    OFFSET $2
)
RETURNING *;

-- name: drop_all_of
DELETE FROM checkpoints WHERE operation_id = $1 RETURNING *;

-- name: drop_checkpoint
-- Only of an operation that has ended: a run, or a resume in the queue, may be about to read it. The pointer moves to the
-- next newest one in the same statement.
WITH dropped AS (
    DELETE FROM checkpoints c USING operations o
    WHERE c.id = $1 AND o.id = c.operation_id AND o.status = ANY ($2)
    RETURNING c.*
), pointed AS (
    UPDATE operations o SET
        checkpoint_id = (
            SELECT c.id FROM checkpoints c WHERE c.operation_id = o.id AND c.id <> $1
            ORDER BY (c.corrupt_time IS NOT NULL), c.attempt DESC, c.unit DESC, c.step DESC, c.create_time DESC LIMIT 1
        ),
        update_time = clock_timestamp(), last_sequence = last_sequence + 1
    FROM dropped WHERE o.id = dropped.operation_id AND o.status = ANY ($2)
    RETURNING o.*
), event AS (
    INSERT INTO operation_events (operation_id, sequence, time, attempt, type, status, message)
    SELECT id, last_sequence, update_time, attempt, 'CHECKPOINT_DELETED', status, $3 FROM pointed
)
SELECT dropped.* FROM dropped JOIN pointed ON pointed.id = dropped.operation_id;

-- name: list_expired
-- Of operations that have ended; the newest first, so that a dry run reads well.
SELECT c.* FROM checkpoints c JOIN operations o ON o.id = c.operation_id
WHERE c.create_time < clock_timestamp() - $1::interval AND o.status = ANY ($2)
ORDER BY c.create_time DESC;

-- name: checkpoint_stats
SELECT type, count(*) AS checkpoints, count(DISTINCT operation_id) AS operations,
       coalesce(sum(size_bytes), 0)::bigint AS bytes,
       coalesce(extract(epoch FROM clock_timestamp() - min(create_time)), 0)::float8 AS oldest_age
FROM checkpoints GROUP BY GROUPING SETS ((type), ());
