-- name: save_checkpoint
-- The catalogue's row and the operation's pointer change together. :saved_attempt, the attempt that saved it;
-- :event_interval, seconds between two events of periodic ones: the first of an attempt is recorded, and then one in so many
-- seconds; :worker_id, the worker that says so, NULL: we ourselves.
WITH story AS MATERIALIZED (
    SELECT :event <> 'CHECKPOINT_SAVED' OR :type <> 'PERIODIC' OR coalesce((
        -- The newest such event; found from the story's end backwards.
        SELECT e.time <= clock_timestamp() - make_interval(secs => :event_interval) FROM operation_events e
        WHERE e.operation_id = :operation_id AND e.attempt = :attempt AND e.type = :event
          AND e.details ->> 'type' = 'PERIODIC'
        ORDER BY e.sequence DESC LIMIT 1
    ), true) AS due
), live AS (
    UPDATE operations o SET
        -- Reports may come late: the pointer never goes back.
        checkpoint_id = CASE
            WHEN EXISTS (
                SELECT 1 FROM checkpoints c
                WHERE c.id = o.checkpoint_id
                  AND (c.attempt, c.unit, c.step) > (:saved_attempt::integer, :unit::bigint, :step::bigint)
            ) THEN checkpoint_id ELSE :id END,
        update_time = clock_timestamp(), last_sequence = last_sequence + story.due::integer
    FROM story
    WHERE id = :operation_id AND attempt = :attempt AND status = ANY (:statuses)
      AND NOT EXISTS (SELECT 1 FROM checkpoints WHERE id = :id)
      AND (:worker_id::text IS NULL OR worker_id = :worker_id)
    RETURNING o.*, CASE WHEN story.due THEN add_event(o, :event, :message, :details) ELSE false END AS recorded
), saved AS (
    INSERT INTO checkpoints (id, operation_id, attempt, type, unit_name, unit, step, manifest_digest, size_bytes,
                             data_digest, create_time)
    SELECT :id, id, :saved_attempt, :type, :unit_name, :unit, :step, :manifest_digest, :size_bytes,
           :data_digest, :create_time FROM live
)
SELECT live.*, NULL AS checkpoint FROM live;

-- name: get_checkpoint
SELECT * FROM checkpoints WHERE id = :id;

-- name: list_checkpoints_of
-- Newest first: the order in which a resume tries them.
SELECT * FROM checkpoints WHERE operation_id = :operation_id ORDER BY attempt DESC, unit DESC, step DESC, create_time DESC;

-- name: list_checkpoints
SELECT * FROM checkpoints
WHERE (:operation_id::text IS NULL OR operation_id = :operation_id)
  AND (:below_time::timestamptz IS NULL OR (create_time, id) < (:below_time, :below_id::text))
ORDER BY create_time DESC, id DESC
LIMIT :limit;

-- name: mark_corrupt
UPDATE checkpoints SET corrupt_time = clock_timestamp() WHERE id = :id AND corrupt_time IS NULL;

-- name: drop_older
-- All but the newest :keep good ones.
DELETE FROM checkpoints WHERE id IN (
    SELECT id FROM checkpoints WHERE operation_id = :operation_id
    ORDER BY (corrupt_time IS NOT NULL), attempt DESC, unit DESC, step DESC, create_time DESC
    OFFSET :keep
)
RETURNING *;

-- name: drop_all_of
DELETE FROM checkpoints WHERE operation_id = :operation_id RETURNING *;

-- name: drop_checkpoint
-- Only of an operation that has ended: a run, or a resume in the queue, may be about to read it. The pointer moves to the
-- next newest one in the same statement.
WITH dropped AS (
    DELETE FROM checkpoints c USING operations o
    WHERE c.id = :id AND o.id = c.operation_id AND o.status = ANY (:statuses)
    RETURNING c.*
), pointed AS (
    UPDATE operations o SET
        checkpoint_id = (
            SELECT c.id FROM checkpoints c WHERE c.operation_id = o.id AND c.id <> :id
            ORDER BY (c.corrupt_time IS NOT NULL), c.attempt DESC, c.unit DESC, c.step DESC, c.create_time DESC LIMIT 1
        ),
        update_time = clock_timestamp(), last_sequence = last_sequence + 1
    FROM dropped WHERE o.id = dropped.operation_id AND o.status = ANY (:statuses)
    RETURNING o.id, add_event(o, 'CHECKPOINT_DELETED', :message)
)
SELECT dropped.* FROM dropped JOIN pointed ON pointed.id = dropped.operation_id;

-- name: list_expired
-- Of operations that have ended; the newest first, so that a dry run reads well.
SELECT c.* FROM checkpoints c JOIN operations o ON o.id = c.operation_id
WHERE c.create_time < clock_timestamp() - :age::interval AND o.status = ANY (:statuses)
ORDER BY c.create_time DESC;

-- name: checkpoint_stats
SELECT type, count(*) AS checkpoints, count(DISTINCT operation_id) AS operations,
       coalesce(sum(size_bytes), 0)::bigint AS bytes,
       coalesce(extract(epoch FROM clock_timestamp() - min(create_time)), 0)::float8 AS oldest_age
FROM checkpoints GROUP BY GROUPING SETS ((type), ());
