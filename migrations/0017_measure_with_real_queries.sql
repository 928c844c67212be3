-- With which queries the recalls of an index were measured last, and when: synthetic ones, made of stored vectors when
-- it was built, or real ones, sampled from recent searches. The queries themselves are not stored.
ALTER TABLE project_indexes
    ADD COLUMN measured_with text NOT NULL DEFAULT 'synthetic',
    ADD COLUMN measured_at timestamptz NOT NULL DEFAULT now();
