-- The one artifact store that this database's rows name paths in. The sweep takes only what carries its id.
CREATE TABLE artifact_store (
    only_row boolean NOT NULL DEFAULT true,
    store_id text NOT NULL,
    bind_time timestamptz NOT NULL DEFAULT clock_timestamp(),
    CONSTRAINT artifact_store_pkey PRIMARY KEY (only_row),
    -- Rows of two stores in one database: the same path would mean two things.
    CONSTRAINT artifact_store_one_row CHECK (only_row)
);
