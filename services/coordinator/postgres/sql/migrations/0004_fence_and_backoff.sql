-- The coordinator's epoch comes from the clock, and requeued operations wait.
ALTER TABLE coordinators ALTER COLUMN epoch DROP DEFAULT;
DROP SEQUENCE coordinator_epochs;

ALTER TABLE operations ADD COLUMN requeues integer NOT NULL DEFAULT 0;
ALTER TABLE operations ADD COLUMN not_before timestamptz;
ALTER TABLE operations ADD CONSTRAINT operations_requeues_from_zero CHECK (requeues >= 0);
