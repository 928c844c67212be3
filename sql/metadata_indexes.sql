-- The metadata indexes of projects with a vector index: one of equal values, one of ranges and fields (terms, migration
-- 0023). See service/storage/builds.py.

-- name: BuildMetadataIndex :exec
CREATE INDEX CONCURRENTLY embeddings_{project_id}_meta_{watermark} ON {schema}.embeddings_{project_id}
 USING gin (metadata jsonb_path_ops)
 WHERE sequence <= {watermark};

-- name: DropMetadataIndex :exec
DROP INDEX CONCURRENTLY IF EXISTS {schema}.embeddings_{project_id}_meta_{watermark};

-- name: BuildTermsIndex :exec
-- The order of other collations depends on the version of the operating system's library.
CREATE INDEX CONCURRENTLY embeddings_{project_id}_terms_{watermark} ON {schema}.embeddings_{project_id}
 USING gin (metadata_terms(metadata) COLLATE "C")
 WHERE sequence <= {watermark};

-- name: OmitTermsFromStatistics :exec
-- ANALYZE would make the terms of 150,000 rows, which takes 15 s; the planner needs no statistics of them.
ALTER INDEX {schema}.embeddings_{project_id}_terms_{watermark} ALTER COLUMN 1 SET STATISTICS 0;

-- name: DropTermsIndex :exec
DROP INDEX CONCURRENTLY IF EXISTS {schema}.embeddings_{project_id}_terms_{watermark};

-- name: SampleMoreMetadata :exec
-- From this sample, of 500 values, PostgreSQL estimates how many rows pass a filter.
ALTER TABLE {schema}.embeddings_{project_id} ALTER COLUMN metadata SET STATISTICS 500;

-- name: NoteMetadataIndex :execrows
UPDATE project_indexes SET metadata_indexed = true
 WHERE project_id = @project_id::int AND watermark = @watermark::bigint;

-- name: NoteTermsIndex :execrows
UPDATE project_indexes SET terms_watermark = watermark
 WHERE project_id = @project_id::int AND watermark = @watermark::bigint;
