ALTER TABLE project_indexes
    DROP COLUMN exact_seconds,
    DROP COLUMN queries,
    DROP COLUMN recall_error,
    DROP COLUMN m;
