-- A checkpoint's id is its path in the artifact store: an address of its own would tie the row to one place, and could lead
-- a deletion elsewhere.
ALTER TABLE checkpoints DROP COLUMN uri;

-- A row that lies in another operation's directory: deleting it would delete that one's files.
ALTER TABLE checkpoints ADD CONSTRAINT checkpoints_id_is_path CHECK (
    starts_with(id, operation_id || '/') AND substr(id, length(operation_id) + 2) ~ '^[0-9]+-[0-9]+([.][0-9]+)?(-[a-z]+)?$'
);
