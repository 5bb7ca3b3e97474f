-- The whole schema as it stands after the last migration. A test applies the migrations to an empty database and compares.
-- Protobuf columns are bytea: exact floats, and text that jsonb would refuse. What is searched for has a column of its own.

-- Who may write: every start of a coordinator takes a greater term, and workers refuse commands from a smaller one.
-- It is the clock's seconds, and no sequence: a database that was restored from a backup would count again what living
-- workers have seen already, and they would refuse its coordinator.
CREATE TABLE coordinators (
    term bigint NOT NULL,
    host text NOT NULL,
    process_id integer NOT NULL,
    listen text NOT NULL,
    start_time timestamptz NOT NULL DEFAULT clock_timestamp(),
    CONSTRAINT coordinators_pkey PRIMARY KEY (term)
);

-- The one artifact store that this database's rows name paths in. The sweep takes only what carries its id.
CREATE TABLE artifact_store (
    only_row boolean NOT NULL DEFAULT true,
    store_id text NOT NULL,
    bind_time timestamptz NOT NULL DEFAULT clock_timestamp(),
    CONSTRAINT artifact_store_pkey PRIMARY KEY (only_row),
    -- Rows of two stores in one database: the same path would mean two things.
    CONSTRAINT artifact_store_one_row CHECK (only_row)
);

CREATE TABLE operations (
    id text NOT NULL,
    kind text NOT NULL,
    status text NOT NULL,
    -- The fencing token: whatever carries a smaller one is a stale worker's.
    attempt integer NOT NULL DEFAULT 1,
    max_attempts integer NOT NULL DEFAULT 1,
    -- Resumes that no person asked for, since a person last did.
    automatic_resumes integer NOT NULL DEFAULT 0,
    -- When the next one is due; NULL: none is.
    automatic_resume_time timestamptz,
    -- TrainingSpec or BacktestSpec.
    spec bytea NOT NULL,
    strategy_name text NOT NULL,
    -- Strategy.model_digest(): what a model and a backtest must agree on.
    model_digest text NOT NULL,
    -- Capabilities that a worker must have, besides the kind.
    requirements text[] NOT NULL DEFAULT '{}',
    worker_id text,
    incarnation text,
    -- The newest checkpoint, and the one that the current attempt continues from.
    checkpoint_id text,
    resume_checkpoint_id text,
    -- Progress, TrainingResult or BacktestResult, Failure.
    progress bytea,
    result bytea,
    failure bytea,
    failure_reason text,
    cancel_time timestamptz,
    resume_time timestamptz,
    last_sequence bigint NOT NULL DEFAULT 0,
    create_time timestamptz NOT NULL DEFAULT clock_timestamp(),
    start_time timestamptz,
    end_time timestamptz,
    update_time timestamptz NOT NULL DEFAULT clock_timestamp(),
    -- Claims in a row that no worker took, and how long the queue passes it over because of them.
    requeues integer NOT NULL DEFAULT 0,
    not_before timestamptz,
    CONSTRAINT operations_pkey PRIMARY KEY (id),
    CONSTRAINT operations_known_kind CHECK (
        kind IN ('TRAINING', 'BACKTEST', 'RESEARCH', 'DESIGN', 'ASSESSMENT')
    ),
    CONSTRAINT operations_known_status CHECK (
        status IN ('PENDING', 'RUNNING', 'PENDING_RECONCILIATION', 'CANCELLING', 'RESUMING',
                   'COMPLETED', 'FAILED', 'CANCELLED')
    ),
    CONSTRAINT operations_attempt_from_one CHECK (attempt >= 1),
    CONSTRAINT operations_max_attempts_from_one CHECK (max_attempts >= 1),
    CONSTRAINT operations_requeues_from_zero CHECK (requeues >= 0),
    -- A running operation of nobody: no orphan rule would ever find it.
    CONSTRAINT operations_live_has_worker CHECK (
        status NOT IN ('RUNNING', 'PENDING_RECONCILIATION', 'CANCELLING')
        OR (worker_id IS NOT NULL AND incarnation IS NOT NULL)
        OR kind IN ('RESEARCH', 'DESIGN', 'ASSESSMENT')
    ),
    -- An end without its time, or a time without an end: lists and durations would lie.
    CONSTRAINT operations_terminal_has_end CHECK (
        (status IN ('COMPLETED', 'FAILED', 'CANCELLED')) = (end_time IS NOT NULL)
    ),
    -- COMPLETED without a result: a backtest would look for a model that nobody wrote.
    CONSTRAINT operations_completed_has_result CHECK ((status = 'COMPLETED') = (result IS NOT NULL)),
    -- FAILED without a word why: the user could not tell what to do next.
    CONSTRAINT operations_failed_has_reason CHECK (
        (failure IS NULL) = (failure_reason IS NULL)
        AND (status NOT IN ('FAILED', 'CANCELLED') OR failure IS NOT NULL)
    ),
    -- A resume that continues from nothing: the run would start afresh and call it a resume.
    CONSTRAINT operations_resuming_has_checkpoint CHECK (status <> 'RESUMING' OR resume_checkpoint_id IS NOT NULL),
    -- An automatic resume of something that has not failed.
    CONSTRAINT operations_automatic_resume_after_end CHECK (
        automatic_resume_time IS NULL OR status IN ('FAILED', 'CANCELLED')
    )
);

-- The queue, first come first served.
CREATE INDEX operations_queue ON operations (create_time, id) WHERE status IN ('PENDING', 'RESUMING');
CREATE INDEX operations_live ON operations (worker_id)
    WHERE status IN ('RUNNING', 'PENDING_RECONCILIATION', 'CANCELLING');
CREATE INDEX operations_newest ON operations (create_time DESC, id DESC);
CREATE INDEX operations_models ON operations (model_digest, end_time DESC)
    WHERE kind = 'TRAINING' AND status = 'COMPLETED';
CREATE INDEX operations_automatic_resumes ON operations (automatic_resume_time)
    WHERE automatic_resume_time IS NOT NULL;

-- One row per claim: which process held which attempt, and how that ended.
CREATE TABLE attempts (
    operation_id text NOT NULL,
    attempt integer NOT NULL,
    worker_id text NOT NULL,
    incarnation text NOT NULL,
    -- Where it continued from; NULL: from the beginning.
    checkpoint_id text,
    claim_time timestamptz NOT NULL DEFAULT clock_timestamp(),
    end_time timestamptz,
    -- The operation's status after it, or UNDELIVERED.
    outcome text,
    -- No attempt is claimed twice: two workers would hold the same fencing token.
    CONSTRAINT attempts_pkey PRIMARY KEY (operation_id, attempt),
    CONSTRAINT attempts_operation_fkey FOREIGN KEY (operation_id) REFERENCES operations (id) ON DELETE CASCADE,
    CONSTRAINT attempts_end_has_outcome CHECK ((end_time IS NULL) = (outcome IS NULL))
);

-- At most one live attempt per operation: two workers must never train the same run.
CREATE UNIQUE INDEX attempts_one_live ON attempts (operation_id) WHERE end_time IS NULL;

-- An operation's story, numbered from 1 without gaps (operations.last_sequence, taken under the row's lock).
CREATE TABLE operation_events (
    operation_id text NOT NULL,
    sequence bigint NOT NULL,
    time timestamptz NOT NULL,
    attempt integer NOT NULL,
    type text NOT NULL,
    status text NOT NULL,
    message text NOT NULL,
    details jsonb NOT NULL DEFAULT '{}',
    -- Two events with one number: a watcher would drop the second as already seen.
    CONSTRAINT operation_events_pkey PRIMARY KEY (operation_id, sequence),
    CONSTRAINT operation_events_operation_fkey FOREIGN KEY (operation_id) REFERENCES operations (id) ON DELETE CASCADE
);

-- The event of a row that the calling statement has just written: one insert for all of them. PL/pgSQL, and not SQL, because
-- a session plans it once. True, so that a caller's row says whether it was recorded.
CREATE FUNCTION add_event(moved operations, type text, message text, details jsonb DEFAULT '{}') RETURNS boolean
LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO operation_events (operation_id, sequence, time, attempt, type, status, message, details)
    VALUES (moved.id, moved.last_sequence, moved.update_time, moved.attempt, add_event.type, moved.status,
            add_event.message, add_event.details);
    RETURN true;
END
$$;

CREATE TABLE checkpoints (
    id text NOT NULL,
    operation_id text NOT NULL,
    attempt integer NOT NULL,
    type text NOT NULL,
    unit_name text NOT NULL,
    unit bigint NOT NULL,
    step bigint NOT NULL,
    manifest_digest text NOT NULL,
    size_bytes bigint NOT NULL,
    data_digest text NOT NULL,
    create_time timestamptz NOT NULL,
    -- Set when it failed verification: no resume tries it again unless it is named.
    corrupt_time timestamptz,
    CONSTRAINT checkpoints_pkey PRIMARY KEY (id),
    CONSTRAINT checkpoints_operation_fkey FOREIGN KEY (operation_id) REFERENCES operations (id) ON DELETE CASCADE,
    CONSTRAINT checkpoints_known_type CHECK (type IN ('PERIODIC', 'CANCELLATION', 'FAILURE', 'SHUTDOWN')),
    -- The id is the path in the artifact store. A row that lies in another operation's directory: deleting it would delete
    -- that one's files.
    CONSTRAINT checkpoints_id_is_path CHECK (
        starts_with(id, operation_id || '/') AND substr(id, length(operation_id) + 2) ~ '^[0-9]+-[0-9]+([.][0-9]+)?(-[a-z]+)?$'
    )
);

CREATE INDEX checkpoints_of_operation ON checkpoints (operation_id, attempt DESC, unit DESC, step DESC);
CREATE INDEX checkpoints_newest ON checkpoints (create_time DESC, id DESC);

-- A pointer to a checkpoint that is gone: the resume button would lead nowhere.
ALTER TABLE operations ADD CONSTRAINT operations_checkpoint_fkey
    FOREIGN KEY (checkpoint_id) REFERENCES checkpoints (id) ON DELETE SET NULL;

-- What each request_id has done, so that a repeated call is answered as the first.
CREATE TABLE requests (
    request_id text NOT NULL,
    method text NOT NULL,
    -- SHA-256 of the request: the same id with another content is a caller's mistake.
    digest text NOT NULL,
    operation_id text NOT NULL,
    checkpoint_id text,
    create_time timestamptz NOT NULL DEFAULT clock_timestamp(),
    -- One request, done twice: a retry after a lost answer would start a second training.
    CONSTRAINT requests_pkey PRIMARY KEY (request_id),
    CONSTRAINT requests_operation_fkey FOREIGN KEY (operation_id) REFERENCES operations (id) ON DELETE CASCADE
);
