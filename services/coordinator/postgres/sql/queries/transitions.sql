-- Every change of status, each one compare-and-set with its event. The first seven arguments are always the same:
-- $1 id, $2 attempt, $3 statuses it may stand at, $4 new status, $5 event type, $6 message, $7 details.

-- name: next_in_queue
-- The oldest operation that one of the offers fits. Locked rows are passed over: another claim holds them; and so are those
-- that wait after a claim that no worker took: they must not hold up what is behind them.
SELECT o.id, o.kind, o.status, o.attempt, o.worker_id, o.requirements, o.resume_checkpoint_id
FROM operations o
WHERE o.status = ANY ($1)
  AND (o.not_before IS NULL OR o.not_before <= clock_timestamp())
  AND EXISTS (
      SELECT 1 FROM jsonb_to_recordset($2::jsonb) AS offer (kind text, capabilities text[])
      WHERE offer.kind = o.kind AND o.requirements <@ offer.capabilities
  )
ORDER BY o.create_time, o.id
FOR UPDATE SKIP LOCKED
LIMIT 1;

-- name: next_due
-- Seconds until the first operation that waits and that one of the offers fits may be claimed; NULL: none waits. One that
-- became due a moment ago counts: next_in_queue may have looked just before.
SELECT greatest(0, extract(epoch FROM min(o.not_before) - clock_timestamp()))::float8 AS seconds
FROM operations o
WHERE o.status = ANY ($1) AND o.not_before IS NOT NULL
  AND EXISTS (
      SELECT 1 FROM jsonb_to_recordset($2::jsonb) AS offer (kind text, capabilities text[])
      WHERE offer.kind = o.kind AND o.requirements <@ offer.capabilities
  );

-- name: claim
-- A claim after a requeue is recorded once a worker has taken it: a story of refusals would have no end.
WITH moved AS (
    UPDATE operations SET
        status = $4, worker_id = $8, incarnation = $9, failure = NULL, failure_reason = NULL, not_before = NULL,
        start_time = coalesce(start_time, clock_timestamp()),
        update_time = clock_timestamp(), last_sequence = last_sequence + (requeues = 0)::integer
    WHERE id = $1 AND attempt = $2 AND status = ANY ($3)
    RETURNING *
), event AS (
    INSERT INTO operation_events (operation_id, sequence, time, attempt, type, status, message, details)
    SELECT id, last_sequence, update_time, attempt, $5, status, $6, $7 FROM moved WHERE requeues = 0
), attempt AS (
    INSERT INTO attempts (operation_id, attempt, worker_id, incarnation, checkpoint_id)
    SELECT id, attempt, worker_id, incarnation, resume_checkpoint_id FROM moved
)
SELECT moved.*, c AS checkpoint FROM moved LEFT JOIN checkpoints c ON c.id = moved.checkpoint_id;

-- name: requeue
-- $8 failure, $9 its reason, $10 whether a run may have begun, $11 the first and $12 the longest wait in seconds,
-- $13 the requeues before: a repeat after a lost answer must not take the next claim back, which may bear the same attempt.
-- Where a run may have begun the attempt goes up: that run must be stale. Where the worker has said no, it is as if the
-- claim had never been. The first requeue waits for nothing, since another worker may take it; the further ones wait twice
-- as long each time. The story tells the 1st, 2nd, 4th, 8th, … in a row.
WITH moved AS (
    UPDATE operations SET
        status = $4, attempt = attempt + $10::boolean::integer, failure = $8, failure_reason = $9,
        requeues = requeues + 1,
        not_before = CASE WHEN requeues > 0 THEN clock_timestamp() + interval '1 second'
            * least($12::float8, $11::float8 * power(2, least(requeues - 1, 30))) * (0.5 + random() / 2) END,
        update_time = clock_timestamp(), last_sequence = last_sequence + (requeues & (requeues + 1) = 0)::integer
    WHERE id = $1 AND attempt = $2 AND status = ANY ($3) AND requeues = $13
    RETURNING *
), event AS (
    INSERT INTO operation_events (operation_id, sequence, time, attempt, type, status, message, details)
    SELECT id, last_sequence, update_time, attempt, $5, status, $6, $7 FROM moved WHERE requeues & (requeues - 1) = 0
), undelivered AS (
    UPDATE attempts a SET end_time = clock_timestamp(), outcome = 'UNDELIVERED'
    FROM moved WHERE $10 AND a.operation_id = moved.id AND a.attempt = $2 AND a.end_time IS NULL
), never_claimed AS (
    DELETE FROM attempts a USING moved
    WHERE NOT $10 AND a.operation_id = moved.id AND a.attempt = $2 AND a.end_time IS NULL
)
SELECT moved.*, c AS checkpoint FROM moved LEFT JOIN checkpoints c ON c.id = moved.checkpoint_id;

-- name: count_undelivered
-- Claims in a row of which nobody knows whether the worker got them.
SELECT count(*) FROM attempts a
WHERE a.operation_id = $1 AND a.outcome = 'UNDELIVERED'
  AND NOT EXISTS (
      SELECT 1 FROM attempts later
      WHERE later.operation_id = a.operation_id AND later.attempt > a.attempt AND later.outcome <> 'UNDELIVERED'
  );

-- name: outdate
-- No change of status: a living worker ran this attempt, or a later one, which a restored database has forgotten. The next
-- claim must not bear the same number. $1 id, $2 attempt, $3 statuses, $4 the new attempt, $5 type, $6 message, $7 details.
WITH moved AS (
    UPDATE operations SET
        attempt = $4, update_time = clock_timestamp(), last_sequence = last_sequence + 1
    WHERE id = $1 AND attempt = $2 AND status = ANY ($3)
    RETURNING *
), event AS (
    INSERT INTO operation_events (operation_id, sequence, time, attempt, type, status, message, details)
    SELECT id, last_sequence, update_time, attempt, $5, status, $6, $7 FROM moved
)
SELECT moved.*, c AS checkpoint FROM moved LEFT JOIN checkpoints c ON c.id = moved.checkpoint_id;

-- name: finish
-- $8 result, $9 failure, $10 its reason, $11 last progress, $12 whether the automatic resume may follow, $13 its first
-- delay in seconds (doubled each time, five minutes at most), $14 the reason it must have failed for, NULL: any,
-- $15 the worker that says so, which must be the one it was given to, NULL: we ourselves.
WITH moved AS (
    UPDATE operations SET
        status = $4, result = $8, failure = $9, failure_reason = $10, progress = coalesce($11, progress),
        end_time = clock_timestamp(), update_time = clock_timestamp(), last_sequence = last_sequence + 1,
        automatic_resume_time = CASE
            WHEN $12::boolean AND cancel_time IS NULL AND automatic_resumes + 1 < max_attempts
            THEN clock_timestamp() + least(300, $13::float8 * power(2, automatic_resumes)) * interval '1 second'
        END
    WHERE id = $1 AND attempt = $2 AND status = ANY ($3) AND ($14::text IS NULL OR failure_reason = $14)
      AND ($15::text IS NULL OR worker_id = $15)
    RETURNING *
), event AS (
    INSERT INTO operation_events (operation_id, sequence, time, attempt, type, status, message, details)
    SELECT id, last_sequence, update_time, attempt, $5, status, $6, $7 FROM moved
), attempt AS (
    UPDATE attempts a SET end_time = moved.end_time, outcome = moved.status
    FROM moved WHERE a.operation_id = moved.id AND a.attempt = moved.attempt
)
SELECT moved.*, c AS checkpoint FROM moved LEFT JOIN checkpoints c ON c.id = moved.checkpoint_id;

-- name: request_cancel
WITH moved AS (
    UPDATE operations SET
        status = $4, cancel_time = clock_timestamp(),
        update_time = clock_timestamp(), last_sequence = last_sequence + 1
    WHERE id = $1 AND attempt = $2 AND status = ANY ($3)
    RETURNING *
), event AS (
    INSERT INTO operation_events (operation_id, sequence, time, attempt, type, status, message, details)
    SELECT id, last_sequence, update_time, attempt, $5, status, $6, $7 FROM moved
)
SELECT moved.*, c AS checkpoint FROM moved LEFT JOIN checkpoints c ON c.id = moved.checkpoint_id;

-- name: adopt
-- $8 worker, $9 its incarnation, $10 the reason it must have failed for, NULL: any.
WITH moved AS (
    UPDATE operations SET
        status = $4, incarnation = $9, failure = NULL, failure_reason = NULL,
        end_time = NULL, automatic_resume_time = NULL,
        update_time = clock_timestamp(), last_sequence = last_sequence + 1
    WHERE id = $1 AND attempt = $2 AND status = ANY ($3) AND worker_id = $8
      AND ($10::text IS NULL OR failure_reason = $10)
    RETURNING *
), event AS (
    INSERT INTO operation_events (operation_id, sequence, time, attempt, type, status, message, details)
    SELECT id, last_sequence, update_time, attempt, $5, status, $6, $7 FROM moved
), attempt AS (
    UPDATE attempts a SET end_time = NULL, outcome = NULL, incarnation = moved.incarnation
    FROM moved WHERE a.operation_id = moved.id AND a.attempt = moved.attempt
)
SELECT moved.*, c AS checkpoint FROM moved LEFT JOIN checkpoints c ON c.id = moved.checkpoint_id;

-- name: resume
-- One statement decides the race. $8 checkpoint, $9 automatic, $10 spec, $11 request_id, $12 its digest, $13 the newest
-- attempt that the store knows: after a restore from an older backup it is ahead of the row.
WITH moved AS (
    UPDATE operations SET
        status = $4, attempt = greatest(attempt, $13::integer) + 1, resume_checkpoint_id = $8, spec = $10,
        automatic_resumes = CASE WHEN $9::boolean THEN automatic_resumes + 1 ELSE 0 END, automatic_resume_time = NULL,
        requeues = 0, not_before = NULL,
        failure = NULL, failure_reason = NULL, cancel_time = NULL, end_time = NULL, resume_time = clock_timestamp(),
        update_time = clock_timestamp(), last_sequence = last_sequence + 1
    WHERE id = $1 AND attempt = $2 AND status = ANY ($3)
    RETURNING *
), event AS (
    INSERT INTO operation_events (operation_id, sequence, time, attempt, type, status, message, details)
    SELECT id, last_sequence, update_time, attempt, $5, status, $6, $7 FROM moved
), request AS (
    INSERT INTO requests (request_id, method, digest, operation_id, checkpoint_id)
    SELECT $11::text, 'ResumeOperation', $12, id, $8 FROM moved WHERE $11::text IS NOT NULL
)
SELECT moved.*, c AS checkpoint FROM moved LEFT JOIN checkpoints c ON c.id = moved.checkpoint_id;

-- name: restart
-- At the coordinator's start: whatever a worker ran waits for that worker. $1 statuses, $2 new status, $3 kinds, $4 message.
WITH moved AS (
    UPDATE operations SET status = $2, update_time = clock_timestamp(), last_sequence = last_sequence + 1
    WHERE status = ANY ($1) AND kind = ANY ($3)
    RETURNING *
), event AS (
    INSERT INTO operation_events (operation_id, sequence, time, attempt, type, status, message)
    SELECT id, last_sequence, update_time, attempt, 'PENDING_RECONCILIATION', status, $4 FROM moved
)
SELECT moved.*, c AS checkpoint FROM moved LEFT JOIN checkpoints c ON c.id = moved.checkpoint_id;

-- name: stop_automatic_resume
-- No change of status: only the promise to continue by itself is taken back. $1 id, $2 attempt, $3 type, $4 message.
WITH moved AS (
    UPDATE operations SET
        automatic_resume_time = NULL, update_time = clock_timestamp(), last_sequence = last_sequence + 1
    WHERE id = $1 AND attempt = $2 AND automatic_resume_time IS NOT NULL
    RETURNING *
), event AS (
    INSERT INTO operation_events (operation_id, sequence, time, attempt, type, status, message)
    SELECT id, last_sequence, update_time, attempt, $3, status, $4 FROM moved
)
SELECT moved.*, c AS checkpoint FROM moved LEFT JOIN checkpoints c ON c.id = moved.checkpoint_id;

-- name: raise_attempt
-- No change of status: a queued operation that the store knows a newer attempt of. $1 id, $2 attempt, $3 statuses, $4 the
-- attempt that the store knows, $5 type, $6 message.
WITH moved AS (
    UPDATE operations SET
        attempt = greatest(attempt, $4::integer) + 1,
        update_time = clock_timestamp(), last_sequence = last_sequence + 1
    WHERE id = $1 AND attempt = $2 AND status = ANY ($3)
    RETURNING *
), event AS (
    INSERT INTO operation_events (operation_id, sequence, time, attempt, type, status, message)
    SELECT id, last_sequence, update_time, attempt, $5, status, $6 FROM moved
)
SELECT moved.*, c AS checkpoint FROM moved LEFT JOIN checkpoints c ON c.id = moved.checkpoint_id;

-- name: list_automatic_resumes
SELECT o.id, o.attempt, greatest(0, extract(epoch FROM o.automatic_resume_time - clock_timestamp()))::float8 AS due_in
FROM operations o WHERE o.automatic_resume_time IS NOT NULL
ORDER BY o.automatic_resume_time;

-- name: count_idle_attempts
-- How many of the newest ended claims began at the checkpoint that is still the newest: attempts that got nowhere.
SELECT count(*) FROM attempts a
WHERE a.operation_id = $1 AND a.outcome <> 'UNDELIVERED' AND a.checkpoint_id = $2
  AND NOT EXISTS (
      SELECT 1 FROM attempts later
      WHERE later.operation_id = a.operation_id AND later.attempt > a.attempt
        AND later.outcome <> 'UNDELIVERED' AND later.checkpoint_id IS DISTINCT FROM $2
  );
