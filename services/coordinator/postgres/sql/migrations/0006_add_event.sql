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
