-- Administration: state, sanity check and reset.

-- name: GetProjectsToCheck :many
SELECT project.project_id, project.owner || '/' || project.project_handle AS name,
       project.metadata_scheme, instance.dimensions
  FROM projects AS project
  LEFT JOIN llm_service_instances AS instance ON instance.instance_id = project.llm_service_instance_id
 WHERE project.project_id > @after::int
 ORDER BY project.project_id
 LIMIT @max_rows::int;

-- name: CountWrongDimensions :one
SELECT count(*) FROM {schema}.embeddings_{project_id} WHERE vector_dims(vector) <> @dimensions::int;

-- name: GetMetadataToCheck :many
-- Absent metadata count as {}.
SELECT text_id, convert_to(metadata, 'UTF8') AS metadata
  FROM (SELECT text_id, metadata, sum(octet_length(metadata)) OVER (ORDER BY text_id) - octet_length(metadata) AS before
          FROM (SELECT text_id, coalesce(nullif(metadata, 'null'), '{}')::text AS metadata
                  FROM {schema}.embeddings_{project_id}
                 WHERE text_id > @after::text
                 ORDER BY text_id
                 LIMIT @max_rows::int) AS page) AS counted
 WHERE before <= @max_bytes::bigint
 ORDER BY text_id;

-- name: GetInvalidIndexes :many
-- Builds in progress have invalid indexes too.
SELECT indexrelid::regclass::text AS name
  FROM pg_index
  JOIN pg_class ON pg_class.oid = pg_index.indrelid
 WHERE NOT indisvalid AND pg_class.relname ~ '^embeddings_\d+$'
   AND pg_class.relnamespace = quote_ident(current_schema())::regnamespace
   AND NOT EXISTS (SELECT FROM pg_stat_progress_create_index AS build WHERE build.index_relid = indexrelid)
 ORDER BY name;

-- name: GetProjectsBelowRecall :many
SELECT project.owner || '/' || project.project_handle AS name
  FROM project_indexes AS built
  JOIN projects AS project USING (project_id)
 WHERE built.lists = 0 AND coalesce(built.recalls[array_upper(built.recalls, 1)], 0) < @recall::float8
 ORDER BY name;

-- name: CountUnmigratedEmbeddings :many
-- Left over by migration 0007.
SELECT project.owner || '/' || project.project_handle AS project, old.obstacle, count(*) AS embeddings
  FROM embeddings_unmigrated AS old
  JOIN projects AS project USING (project_id)
 GROUP BY project.project_id, old.obstacle
 ORDER BY project, old.obstacle;

-- name: DescribeDatabase :one
SELECT current_setting('server_version') AS postgresql,
       (SELECT extversion FROM pg_extension WHERE extname = 'vector') AS pgvector,
       pg_database_size(current_database()) AS database_bytes,
       (SELECT count(*) FROM users WHERE user_handle <> '_system') AS users,
       (SELECT count(*) FROM projects) AS projects,
       (SELECT count(*) FROM llm_service_instances) AS instances,
       (SELECT CASE WHEN count(*) = count(counted.embeddings) THEN coalesce(sum(counted.embeddings), 0)::bigint END
          FROM (SELECT embeddings FROM embedding_counts
                 UNION ALL
                SELECT delta.embeddings FROM embedding_count_deltas AS delta JOIN embedding_counts USING (project_id)
               ) AS counted) AS embeddings;

-- name: GetTableSizes :many
SELECT coalesce(pg_total_relation_size(embeddings_partition(sent.project_id)), 0) AS bytes
  FROM unnest(@project_ids::int[]) WITH ORDINALITY AS sent (project_id, place)
 ORDER BY place;

-- name: GetBuilds :many
-- 'progress' is computed as in GetIndexStates.
SELECT project.owner, project.project_handle, project.project_id,
       CASE parts[2] WHEN 'hnsw' THEN 'graph' WHEN 'ivf' THEN 'coarse' WHEN 'tail' THEN 'tail' ELSE 'metadata' END AS kind,
       greatest(CASE WHEN build.tuples_total > 0 THEN build.tuples_done::float8 / build.tuples_total END,
                CASE WHEN build.blocks_total > 0 THEN build.blocks_done::float8 / build.blocks_total END, 0) AS progress,
       extract(epoch FROM clock_timestamp() - session.query_start)::float8 AS seconds
  FROM pg_stat_progress_create_index AS build
  JOIN pg_stat_activity AS session USING (pid)
  JOIN pg_class AS index ON index.oid = build.index_relid
 CROSS JOIN regexp_match(index.relname, '^embeddings_(\d+)_(hnsw|ivf|tail|meta|terms)_\d+$') AS parts
  JOIN projects AS project ON project.project_id = parts[1]::int
 WHERE build.datname = current_database() AND index.relnamespace = quote_ident(current_schema())::regnamespace
 ORDER BY session.query_start
 LIMIT @max_rows::int;

-- name: LockAll :exec
-- Reading is not blocked. Users come last: other transactions lock rows that refer to users before these.
LOCK TABLE llm_service_instances, llm_service_definitions, projects, users IN EXCLUSIVE MODE;

-- name: DeleteAll :exec
-- Also the projects and instances of _system, which the admin may have created.
WITH project AS (DELETE FROM projects), instance AS (DELETE FROM llm_service_instances)
DELETE FROM users WHERE user_handle <> '_system';

-- name: DeleteCustomAPIStandards :exec
DELETE FROM api_standards
 WHERE api_standard_handle <> ALL ('{openai,azure-openai,cohere,gemini,voyage,jina,mistral,ollama,tei,local}')
   AND NOT EXISTS (SELECT FROM llm_service_definitions WHERE api_standard = api_standard_handle);
