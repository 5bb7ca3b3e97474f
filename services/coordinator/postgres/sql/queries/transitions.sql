-- Every change of status, each one compare-and-set with its event: of the row :id under its :attempt, from one of :statuses
-- to :status. RETURNING sees the row as it was written, once for each, so that add_event takes the number (last_sequence)
-- that the statement took under the row's lock.

-- name: next_in_queue
-- The oldest operation that one of the offers fits. Locked rows are passed over: another claim holds them; and so are those
-- that wait after a claim that no worker took: they must not hold up what is behind them.
SELECT o.id, o.kind, o.status, o.attempt, o.worker_id, o.requirements, o.resume_checkpoint_id
FROM operations o
WHERE o.status = ANY (:statuses)
  AND (o.not_before IS NULL OR o.not_before <= clock_timestamp())
  AND EXISTS (
      SELECT 1 FROM jsonb_to_recordset(:offers::jsonb) AS offer (kind text, capabilities text[])
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
WHERE o.status = ANY (:statuses) AND o.not_before IS NOT NULL
  AND EXISTS (
      SELECT 1 FROM jsonb_to_recordset(:offers::jsonb) AS offer (kind text, capabilities text[])
      WHERE offer.kind = o.kind AND o.requirements <@ offer.capabilities
  );

-- name: claim
-- A claim after a requeue is recorded once a worker has taken it: a story of refusals would have no end.
WITH moved AS (
    UPDATE operations o SET
        status = :status, worker_id = :worker_id, incarnation = :incarnation,
        failure = NULL, failure_reason = NULL, not_before = NULL,
        start_time = coalesce(start_time, clock_timestamp()),
        update_time = clock_timestamp(), last_sequence = last_sequence + (requeues = 0)::integer
    WHERE id = :id AND attempt = :attempt AND status = ANY (:statuses)
    RETURNING *, CASE WHEN requeues = 0 THEN add_event(o, :event, :message, :details) ELSE false END AS recorded
), attempt AS (
    INSERT INTO attempts (operation_id, attempt, worker_id, incarnation, checkpoint_id)
    SELECT id, attempt, worker_id, incarnation, resume_checkpoint_id FROM moved
)
SELECT moved.*, c AS checkpoint FROM moved LEFT JOIN checkpoints c ON c.id = moved.checkpoint_id;

-- name: requeue
-- :requeues, how many there were before: a repeat after a lost answer must not take the next claim back, which may bear the
-- same attempt. Where a run may have begun (:begun) the attempt goes up: that run must be stale. Where the worker has said
-- no, it is as if the claim had never been. The first requeue waits for nothing, since another worker may take it; the
-- further ones wait twice as long each time, from :first to :longest seconds. The 1st, 2nd, 4th, 8th, … in a row is recorded.
WITH moved AS (
    UPDATE operations o SET
        status = :status, attempt = attempt + :begun::boolean::integer, failure = :failure,
        failure_reason = :failure_reason, requeues = requeues + 1,
        not_before = CASE WHEN requeues > 0 THEN clock_timestamp() + interval '1 second'
            * least(:longest::float8, :first::float8 * power(2, least(requeues - 1, 30))) * (0.5 + random() / 2) END,
        update_time = clock_timestamp(), last_sequence = last_sequence + (requeues & (requeues + 1) = 0)::integer
    WHERE id = :id AND attempt = :attempt AND status = ANY (:statuses) AND requeues = :requeues
    RETURNING *, CASE WHEN requeues & (requeues - 1) = 0 THEN add_event(o, :event, :message, :details) ELSE false END AS recorded
), undelivered AS (
    UPDATE attempts a SET end_time = clock_timestamp(), outcome = 'UNDELIVERED'
    FROM moved WHERE :begun AND a.operation_id = moved.id AND a.attempt = :attempt AND a.end_time IS NULL
), never_claimed AS (
    DELETE FROM attempts a USING moved
    WHERE NOT :begun AND a.operation_id = moved.id AND a.attempt = :attempt AND a.end_time IS NULL
)
SELECT moved.*, c AS checkpoint FROM moved LEFT JOIN checkpoints c ON c.id = moved.checkpoint_id;

-- name: count_undelivered
-- Claims in a row of which nobody knows whether the worker got them.
SELECT count(*) FROM attempts a
WHERE a.operation_id = :id AND a.outcome = 'UNDELIVERED'
  AND NOT EXISTS (
      SELECT 1 FROM attempts later
      WHERE later.operation_id = a.operation_id AND later.attempt > a.attempt AND later.outcome <> 'UNDELIVERED'
  );

-- name: raise_attempt
-- No change of status: the store, or a living worker, knows :above, which a restored database has forgotten. The next claim
-- must not bear the same number.
WITH moved AS (
    UPDATE operations o SET
        attempt = greatest(attempt, :above::integer) + 1, update_time = clock_timestamp(), last_sequence = last_sequence + 1
    WHERE id = :id AND attempt = :attempt AND status = ANY (:statuses)
    RETURNING *, add_event(o, :event, :message, :details) AS recorded
)
SELECT moved.*, c AS checkpoint FROM moved LEFT JOIN checkpoints c ON c.id = moved.checkpoint_id;

-- name: finish
-- :automatic, whether the automatic resume may follow, :delay its first delay in seconds (doubled each time, five minutes at
-- most). :only_reason, the reason it must have failed for, NULL: any. :worker_id, the worker that says so, which must be the
-- one it was given to, NULL: we ourselves.
WITH moved AS (
    UPDATE operations o SET
        status = :status, result = :result, failure = :failure, failure_reason = :failure_reason,
        progress = coalesce(:progress, progress),
        end_time = clock_timestamp(), update_time = clock_timestamp(), last_sequence = last_sequence + 1,
        automatic_resume_time = CASE
            WHEN :automatic::boolean AND cancel_time IS NULL AND automatic_resumes + 1 < max_attempts
            THEN clock_timestamp() + least(300, :delay::float8 * power(2, automatic_resumes)) * interval '1 second'
        END
    WHERE id = :id AND attempt = :attempt AND status = ANY (:statuses)
      AND (:only_reason::text IS NULL OR failure_reason = :only_reason)
      AND (:worker_id::text IS NULL OR worker_id = :worker_id)
    RETURNING *, add_event(o, :event, :message, :details) AS recorded
), attempt AS (
    UPDATE attempts a SET end_time = moved.end_time, outcome = moved.status
    FROM moved WHERE a.operation_id = moved.id AND a.attempt = moved.attempt
)
SELECT moved.*, c AS checkpoint FROM moved LEFT JOIN checkpoints c ON c.id = moved.checkpoint_id;

-- name: request_cancel
WITH moved AS (
    UPDATE operations o SET
        status = :status, cancel_time = clock_timestamp(), update_time = clock_timestamp(), last_sequence = last_sequence + 1
    WHERE id = :id AND attempt = :attempt AND status = ANY (:statuses)
    RETURNING *, add_event(o, :event, :message, :details) AS recorded
)
SELECT moved.*, c AS checkpoint FROM moved LEFT JOIN checkpoints c ON c.id = moved.checkpoint_id;

-- name: adopt
-- :only_reason, the reason it must have failed for, NULL: any.
WITH moved AS (
    UPDATE operations o SET
        status = :status, incarnation = :incarnation, failure = NULL, failure_reason = NULL,
        end_time = NULL, automatic_resume_time = NULL,
        update_time = clock_timestamp(), last_sequence = last_sequence + 1
    WHERE id = :id AND attempt = :attempt AND status = ANY (:statuses) AND worker_id = :worker_id
      AND (:only_reason::text IS NULL OR failure_reason = :only_reason)
    RETURNING *, add_event(o, :event, :message, :details) AS recorded
), attempt AS (
    UPDATE attempts a SET end_time = NULL, outcome = NULL, incarnation = moved.incarnation
    FROM moved WHERE a.operation_id = moved.id AND a.attempt = moved.attempt
)
SELECT moved.*, c AS checkpoint FROM moved LEFT JOIN checkpoints c ON c.id = moved.checkpoint_id;

-- name: resume
-- One statement decides the race. :above, the newest attempt that the store knows: after a restore from an older backup it
-- is ahead of the row.
WITH moved AS (
    UPDATE operations o SET
        status = :status, attempt = greatest(attempt, :above::integer) + 1, resume_checkpoint_id = :checkpoint_id,
        spec = :spec, automatic_resumes = CASE WHEN :automatic::boolean THEN automatic_resumes + 1 ELSE 0 END,
        automatic_resume_time = NULL, requeues = 0, not_before = NULL,
        failure = NULL, failure_reason = NULL, cancel_time = NULL, end_time = NULL, resume_time = clock_timestamp(),
        update_time = clock_timestamp(), last_sequence = last_sequence + 1
    WHERE id = :id AND attempt = :attempt AND status = ANY (:statuses)
    RETURNING *, add_event(o, :event, :message, :details) AS recorded
), request AS (
    INSERT INTO requests (request_id, method, digest, operation_id, checkpoint_id)
    SELECT :request_id::text, 'ResumeOperation', :request_digest, id, :checkpoint_id FROM moved
    WHERE :request_id::text IS NOT NULL
)
SELECT moved.*, c AS checkpoint FROM moved LEFT JOIN checkpoints c ON c.id = moved.checkpoint_id;

-- name: restart
-- At the coordinator's start: whatever a worker ran waits for that worker.
WITH moved AS (
    UPDATE operations o SET status = :status, update_time = clock_timestamp(), last_sequence = last_sequence + 1
    WHERE status = ANY (:statuses) AND kind = ANY (:kinds)
    RETURNING *, add_event(o, :event, :message) AS recorded
)
SELECT moved.*, c AS checkpoint FROM moved LEFT JOIN checkpoints c ON c.id = moved.checkpoint_id;

-- name: stop_automatic_resume
-- No change of status: only the promise to continue by itself is taken back.
WITH moved AS (
    UPDATE operations o SET
        automatic_resume_time = NULL, update_time = clock_timestamp(), last_sequence = last_sequence + 1
    WHERE id = :id AND attempt = :attempt AND automatic_resume_time IS NOT NULL
    RETURNING *, add_event(o, :event, :message) AS recorded
)
SELECT moved.*, c AS checkpoint FROM moved LEFT JOIN checkpoints c ON c.id = moved.checkpoint_id;

-- name: list_automatic_resumes
SELECT o.id, o.attempt, greatest(0, extract(epoch FROM o.automatic_resume_time - clock_timestamp()))::float8 AS due_in
FROM operations o WHERE o.automatic_resume_time IS NOT NULL
ORDER BY o.automatic_resume_time;

-- name: count_idle_attempts
-- How many of the newest ended claims began at the checkpoint that is still the newest: attempts that got nowhere.
SELECT count(*) FROM attempts a
WHERE a.operation_id = :id AND a.outcome <> 'UNDELIVERED' AND a.checkpoint_id = :checkpoint_id
  AND NOT EXISTS (
      SELECT 1 FROM attempts later
      WHERE later.operation_id = a.operation_id AND later.attempt > a.attempt
        AND later.outcome <> 'UNDELIVERED' AND later.checkpoint_id IS DISTINCT FROM :checkpoint_id
  );
