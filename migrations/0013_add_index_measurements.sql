-- What else was measured of an index. (The function access_to_project is not called any more: versions before this one,
-- which may still run beside it, do.)
ALTER TABLE project_indexes
    -- The duration of an exact search in seconds; null if it was not measured.
    ADD COLUMN exact_seconds double precision,
    -- The number of queries of the measurement, and the standard error of the recall at the aim.
    ADD COLUMN queries integer NOT NULL DEFAULT 0,
    ADD COLUMN recall_error double precision NOT NULL DEFAULT 0,
    -- pgvector's parameter m: 16, or more if 16 did not reach the desired recall.
    ADD COLUMN m integer NOT NULL DEFAULT 16;
