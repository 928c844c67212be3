-- What else was measured of an index. (The function access_to_project is not called any more: versions before this one,
-- which may still run beside it, do.)
ALTER TABLE project_indexes
    -- The seconds of one search that compares all rows; null when it was not measured.
    ADD COLUMN exact_seconds double precision,
    -- The number of queries with which recalls were measured, and the standard error of the recall that was aimed at.
    ADD COLUMN queries integer NOT NULL DEFAULT 0,
    ADD COLUMN recall_error double precision NOT NULL DEFAULT 0,
    -- pgvector's m: 16, or more for a denser graph where 16 did not reach the recall that was aimed at.
    ADD COLUMN m integer NOT NULL DEFAULT 16;
