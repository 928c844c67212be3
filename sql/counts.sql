-- The numbers of embeddings of projects. See service/storage/indexer.py.

-- name: FoldCounts :exec
-- Skips projects that are being deleted or emptied: these hold the lock on the count, and waiting could deadlock.
WITH free AS MATERIALIZED (
    SELECT project_id FROM embedding_counts
     WHERE project_id = ANY (ARRAY(SELECT DISTINCT project_id FROM embedding_count_deltas))
       FOR NO KEY UPDATE SKIP LOCKED
), delta AS (
    DELETE FROM embedding_count_deltas
     WHERE project_id IN (SELECT project_id FROM free)
    RETURNING project_id, embeddings, changes
), summed AS (
    SELECT project_id, CASE WHEN count(*) = count(embeddings) THEN sum(embeddings) END AS embeddings, sum(changes) AS changes
      FROM delta
     GROUP BY project_id
)
UPDATE embedding_counts AS counted
   SET embeddings = counted.embeddings + summed.embeddings, changes = counted.changes + summed.changes,
       to_index = coalesce(counted.embeddings + summed.embeddings >= @threshold::bigint, true)
               OR EXISTS (SELECT FROM project_indexes AS built WHERE built.project_id = counted.project_id)
  FROM summed
 WHERE counted.project_id = summed.project_id;

-- name: GetUncounted :many
-- The number is unknown after the use of an older version.
SELECT project_id FROM embedding_counts
 WHERE to_index AND embeddings IS NULL AND embeddings_partition(project_id) IS NOT NULL
 ORDER BY project_id;

-- name: LockEmbeddings :exec
LOCK TABLE {schema}.embeddings_{project_id} IN ACCESS SHARE MODE;

-- name: LockCount :one
-- LockEmbeddings comes first, because truncation locks the rows before the count. A deletion locks the count first: then
-- SKIP LOCKED finds no row, instead of waiting.
SELECT project_id FROM embedding_counts WHERE project_id = @project_id::int FOR NO KEY UPDATE SKIP LOCKED;

-- name: Recount :exec
-- The deltas that this statement sees and deletes belong to rows that it counts.
WITH delta AS (
    DELETE FROM embedding_count_deltas WHERE project_id = {project_id} RETURNING changes
)
UPDATE embedding_counts
   SET embeddings = (SELECT count(*) FROM {schema}.embeddings_{project_id}),
       changes = changes + (SELECT coalesce(sum(changes), 0) FROM delta)
 WHERE project_id = {project_id};

-- name: DropStrayDeltas :exec
DELETE FROM embedding_count_deltas AS delta
 WHERE NOT EXISTS (SELECT FROM embedding_counts AS counted WHERE counted.project_id = delta.project_id);
