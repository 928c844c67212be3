-- Looking after the whole: sanity check and reset. Everything that may be long is read in pages by key.

-- name: GetProjectsToCheck :many
SELECT project.project_id, project.owner || '/' || project.project_handle AS name,
       project.metadata_scheme, instance.dimensions
  FROM projects AS project
  LEFT JOIN llm_service_instances AS instance ON instance.instance_id = project.llm_service_instance_id
 WHERE project.project_id > @after::int
 ORDER BY project.project_id
 LIMIT @max_rows::int;

-- name: CountProjects :one
SELECT count(*) FROM projects;

-- name: CountWrongDimensions :one
SELECT count(*) FROM embeddings_{project_id} WHERE vector_dims(vector) <> @dimensions::int;

-- name: GetMetadataToCheck :many
-- Only rows that have metadata, in the order of text_id.
SELECT text_id, octet_length(metadata::text) AS size, metadata
  FROM embeddings_{project_id}
 WHERE text_id > @after::text AND metadata IS NOT NULL
 ORDER BY text_id
 LIMIT @max_rows::int;

-- name: GetSealedKeys :many
SELECT instance_id, owner || '/' || instance_handle AS name, api_key_encrypted AS sealed
  FROM llm_service_instances
 WHERE instance_id > @after::int AND api_key_encrypted IS NOT NULL
 ORDER BY instance_id
 LIMIT @max_rows::int;

-- name: GetInvalidIndexes :many
-- Left by a build that was interrupted.
SELECT indexrelid::regclass::text AS name
  FROM pg_index
  JOIN pg_class ON pg_class.oid = pg_index.indrelid
 WHERE NOT indisvalid AND pg_class.relname ~ '^embeddings_\d+$'
 ORDER BY name;

-- name: CountUnmigratedEmbeddings :one
-- What migration 0005 could not carry over.
SELECT count(*) FROM embeddings_unmigrated;

-- name: DeleteAllUsers :execrows
-- With all that they own, but for the partitions (DropOrphanedPartition).
DELETE FROM users WHERE user_handle <> '_system';

-- name: DeleteCustomAPIStandards :execrows
DELETE FROM api_standards
 WHERE api_standard_handle <> ALL ('{openai,cohere,gemini}')
   AND NOT EXISTS (SELECT FROM llm_service_definitions WHERE api_standard = api_standard_handle);

-- name: DeleteUnmigratedEmbeddings :exec
TRUNCATE embeddings_unmigrated;
