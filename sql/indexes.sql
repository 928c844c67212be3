-- The vector indexes of projects: when to build them, and building them. See service/storage/indexer.py.

-- name: LockProjectIndex :one
-- The schema is part of the key, because projects of other installations have the same ids.
SELECT pg_try_advisory_lock(@lock::int # quote_ident(current_schema())::regnamespace::oid::int, @project_id::int);

-- name: UnlockProjectIndex :one
SELECT pg_advisory_unlock(@lock::int # quote_ident(current_schema())::regnamespace::oid::int, @project_id::int);

-- name: GetSession :one
SELECT pg_backend_pid();

-- name: SetForSession :one
SELECT set_config(@name::text, @value::text, false);

-- name: IsExecuting :one
-- A session that waits for a lock is active, too. Without track_activities the state is not known.
SELECT EXISTS (SELECT FROM pg_stat_activity WHERE pid = @session::int AND state IN ('active', 'disabled'));

-- name: GetProjectsToIndex :many
SELECT project_id
  FROM embedding_counts AS counted
 WHERE (to_index OR @all_projects::bool)
   AND (embeddings >= @threshold::bigint
        OR EXISTS (SELECT FROM project_indexes AS built WHERE built.project_id = counted.project_id))
 ORDER BY project_id;

-- name: RetrieveProjectToIndex :one
SELECT project.project_id, instance.dimensions, counted.embeddings AS rows, counted.changes, counted.log::text AS log
  FROM embedding_counts AS counted
  JOIN projects AS project USING (project_id)
  JOIN llm_service_instances AS instance ON instance.instance_id = project.llm_service_instance_id
 WHERE counted.project_id = @project_id::int AND counted.embeddings IS NOT NULL;

-- name: NoteChecked :exec
UPDATE embedding_counts SET to_index = false WHERE project_id = @project_id::int AND changes = @changes::bigint;

-- name: NoteRound :exec
-- Not more often than needed: any number of indexers end a round every two seconds.
UPDATE indexer_state SET last_round = clock_timestamp() WHERE last_round < clock_timestamp() - interval '10 seconds';

-- name: GetStrayIndexes :many
SELECT parts[1]::int AS project_id, parts[2] AS kind, parts[3]::bigint AS watermark
  FROM pg_class AS index
 CROSS JOIN regexp_match(index.relname, '^embeddings_(\d+)_(hnsw|ivf|tail|meta|terms)_(\d+)$') AS parts
  LEFT JOIN project_indexes AS built ON built.project_id = parts[1]::int AND built.watermark = parts[3]::bigint
 WHERE index.relkind = 'i' AND index.relnamespace = quote_ident(current_schema())::regnamespace
   AND parts IS NOT NULL AND built.project_id IS NULL
 ORDER BY project_id, kind, watermark;

-- name: GetNextWatermark :one
-- Later rows get higher sequences, and no other index has this watermark.
SELECT nextval('embeddings_sequence');

-- name: CountRowsUpTo :one
SELECT count(*) FROM {schema}.embeddings_{project_id} WHERE sequence <= @watermark::bigint;

-- name: CountTail :one
SELECT count(*)
  FROM (SELECT FROM {schema}.embeddings_{project_id} WHERE sequence > {watermark} LIMIT @max_rows::bigint) AS tail;

-- name: BuildVectorIndex :exec
-- pgvector's default of ef_construction is 64. Of 18,200 real vectors of 384 dimensions, the build takes twice as long with
-- 200, and a recall of 0.993 takes 80 candidates (0.66 ms) instead of 120 (0.85 ms); with 128, 1.5 times and 95 candidates.
CREATE INDEX CONCURRENTLY embeddings_{project_id}_hnsw_{watermark} ON {schema}.embeddings_{project_id}
 USING hnsw ((vector::halfvec({dimensions})) halfvec_cosine_ops)
  WITH (m = {m}, ef_construction = 200)
 WHERE sequence <= {watermark};

-- name: BuildCoarseIndex :exec
CREATE INDEX CONCURRENTLY embeddings_{project_id}_ivf_{watermark} ON {schema}.embeddings_{project_id}
 USING ivfflat ((vector::halfvec({dimensions})) halfvec_cosine_ops)
  WITH (lists = {lists})
 WHERE sequence <= {watermark};

-- name: BuildTailIndex :exec
CREATE INDEX CONCURRENTLY embeddings_{project_id}_tail_{watermark} ON {schema}.embeddings_{project_id} (sequence)
 WHERE sequence > {watermark};

-- name: BuildMetadataIndex :exec
CREATE INDEX CONCURRENTLY embeddings_{project_id}_meta_{watermark} ON {schema}.embeddings_{project_id}
 USING gin (metadata jsonb_path_ops)
 WHERE sequence <= {watermark};

-- name: BuildTermsIndex :exec
-- The order of other collations depends on the version of the operating system's library.
CREATE INDEX CONCURRENTLY embeddings_{project_id}_terms_{watermark} ON {schema}.embeddings_{project_id}
 USING gin (metadata_terms(metadata) COLLATE "C")
 WHERE sequence <= {watermark};

-- name: OmitTermsFromStatistics :exec
-- ANALYZE would make the terms of 150,000 rows, which takes 15 s; the planner needs no statistics of them.
ALTER INDEX {schema}.embeddings_{project_id}_terms_{watermark} ALTER COLUMN 1 SET STATISTICS 0;

-- name: DropIndex :exec
DROP INDEX CONCURRENTLY IF EXISTS {schema}.embeddings_{project_id}_{kind}_{watermark};

-- name: SampleMoreMetadata :exec
-- From this sample, of 500 values, PostgreSQL estimates how many rows pass a filter.
ALTER TABLE {schema}.embeddings_{project_id} ALTER COLUMN metadata SET STATISTICS 500;

-- name: AnalyzeRows :exec
-- Without statistics the planner assumes that the tail has a third of the rows, and reads all of them.
ANALYZE {schema}.embeddings_{project_id} (sequence, metadata);

-- name: SampleVectors :many
SELECT vector
  FROM {schema}.embeddings_{project_id}
 WHERE sequence <= @watermark::bigint
 ORDER BY random()
 LIMIT @max_rows::int;

-- name: CopyVectors :copy
SELECT ctid, vector FROM {schema}.embeddings_{project_id} WHERE sequence <= {watermark};

-- name: GetDistancesOfNeighbours :many
SELECT ARRAY(SELECT stored.vector::halfvec({dimensions}) <=> sample.vector::halfvec({dimensions})
               FROM {schema}.embeddings_{project_id} AS stored
              WHERE stored.sequence <= {watermark}
              ORDER BY stored.vector::halfvec({dimensions}) <=> sample.vector::halfvec({dimensions})
              LIMIT @max_rows::int) AS distances
  FROM unnest(@vectors::halfvec[]) WITH ORDINALITY AS sample (vector, place)
 ORDER BY sample.place;

-- name: CountNeighboursLeft :many
-- A place is the number of a block and that of a row in it. OFFSET 0 makes PostgreSQL look up each.
SELECT count(*) FILTER (WHERE EXISTS (SELECT FROM {schema}.embeddings_{project_id} AS stored
                                       WHERE stored.ctid = format('(%s,%s)', listed.place >> 16, listed.place & 65535)::tid
                                         AND stored.sequence <= {watermark}
                                      OFFSET 0)) AS neighbours
  FROM unnest(@places::bigint[]) WITH ORDINALITY AS listed (place, number)
 GROUP BY (listed.number - 1) / 10
 ORDER BY (listed.number - 1) / 10;

-- name: SwitchIndex :one
-- The efforts of graphs and of coarse indexes are in different columns (migration 0016). An emptied project has another log.
INSERT INTO project_indexes (project_id, watermark, indexed_rows, lists, ef_searches, recalls, probes, probe_recalls,
                             queries, recall_error, exact_seconds, m, built_at, measured_with, measured_at)
SELECT project_id, @watermark::bigint, @indexed_rows::bigint, @lists::int,
       CASE WHEN @lists::int = 0 THEN @efforts::int[] ELSE '{}' END,
       CASE WHEN @lists::int = 0 THEN @recalls::float8[] ELSE '{}' END,
       CASE WHEN @lists::int > 0 THEN @efforts::int[] ELSE '{}' END,
       CASE WHEN @lists::int > 0 THEN @recalls::float8[] ELSE '{}' END,
       @queries::int, @recall_error::float8, @exact_seconds::float8, @m::int, now(), 'synthetic', now()
  FROM embedding_counts WHERE project_id = @project_id::int AND log = @log::text::uuid
    ON CONFLICT (project_id) DO UPDATE
   SET watermark = excluded.watermark, metadata_indexed = false, indexed_rows = excluded.indexed_rows,
       lists = excluded.lists, ef_searches = excluded.ef_searches, recalls = excluded.recalls,
       probes = excluded.probes, probe_recalls = excluded.probe_recalls, queries = excluded.queries,
       recall_error = excluded.recall_error,
       exact_seconds = excluded.exact_seconds, m = excluded.m, built_at = excluded.built_at,
       measured_with = excluded.measured_with, measured_at = excluded.measured_at
RETURNING project_id;

-- name: NoteMeasurement :execrows
UPDATE project_indexes
   SET ef_searches = @efforts::int[], recalls = @recalls::float8[], queries = @queries::int,
       recall_error = @recall_error::float8, exact_seconds = @exact_seconds::float8,
       measured_with = 'real', measured_at = clock_timestamp()
 WHERE project_id = @project_id::int AND watermark = @watermark::bigint AND lists = 0;

-- name: NoteMetadataIndex :execrows
UPDATE project_indexes SET metadata_indexed = true
 WHERE project_id = @project_id::int AND watermark = @watermark::bigint;

-- name: NoteTermsIndex :execrows
UPDATE project_indexes SET terms_watermark = watermark
 WHERE project_id = @project_id::int AND watermark = @watermark::bigint;

-- name: ForgetIndex :execrows
DELETE FROM project_indexes WHERE project_id = @project_id::int;

-- name: GetIndexStates :many
-- 'progress' is relative to tuples if their number is known, otherwise to blocks.
WITH building AS MATERIALIZED (
    SELECT DISTINCT ON (build.relid) build.relid,
           greatest(CASE WHEN build.tuples_total > 0 THEN build.tuples_done::float8 / build.tuples_total END,
                    CASE WHEN build.blocks_total > 0 THEN build.blocks_done::float8 / build.blocks_total END, 0) AS progress,
           extract(epoch FROM clock_timestamp() - session.query_start)::float8 AS seconds
      FROM pg_stat_progress_create_index AS build
      JOIN pg_stat_activity AS session USING (pid)
     WHERE build.datname = current_database()
     ORDER BY build.relid
)
SELECT built.watermark, built.indexed_rows, built.lists,
       CASE WHEN built.lists > 0 THEN built.probes ELSE built.ef_searches END AS efforts,
       CASE WHEN built.lists > 0 THEN built.probe_recalls ELSE built.recalls END AS recalls,
       built.queries, built.recall_error, built.measured_with, built.measured_at, built.m, built.metadata_indexed,
       coalesce(built.terms_watermark = built.watermark, false) AS terms_indexed,
       building.progress, building.seconds
  FROM unnest(@project_ids::int[]) WITH ORDINALITY AS listed (project_id, place)
  LEFT JOIN project_indexes AS built ON built.project_id = listed.project_id
  LEFT JOIN building ON building.relid = embeddings_partition(listed.project_id)
 ORDER BY listed.place;

-- name: SummariseIndexes :one
-- Builds in progress are only visible on the primary: of all kinds of indexes, because an indexer waits for each of them.
SELECT count(*) AS projects, coalesce(sum(indexed_rows), 0)::bigint AS rows,
       count(*) FILTER (WHERE lists = 0 AND coalesce(recalls[array_upper(recalls, 1)], 0) < @recall::float8) AS below,
       (SELECT count(*) FROM pg_stat_progress_create_index AS building
          JOIN pg_class AS index ON index.oid = building.index_relid
         WHERE building.datname = current_database() AND index.relname ~ '^embeddings_\d+_(hnsw|ivf|tail|meta|terms)_'
           AND index.relnamespace = quote_ident(current_schema())::regnamespace) AS builds,
       (SELECT extract(epoch FROM last_round)::float8 FROM indexer_state) AS last_round
  FROM project_indexes;
