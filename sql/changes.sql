-- Changes of a project, and digests for comparison, so that clients transfer only differences.
-- See service/storage/changes.py.

-- name: RetrieveLogState :one
SELECT CASE WHEN numbers.is_called THEN numbers.last_value ELSE numbers.last_value - 1 END AS last_sequence,
       counted.log::text AS log, counted.log_begins AS begins
  FROM embeddings_sequence AS numbers
  LEFT JOIN embedding_counts AS counted ON counted.project_id = @project_id::int;

-- name: GetWriters :many
-- A transaction that writes embeddings holds such a lock until its end.
SELECT DISTINCT lock.virtualtransaction
  FROM pg_locks AS lock
 WHERE lock.locktype = 'relation' AND lock.granted
   AND lock.database = (SELECT oid FROM pg_database WHERE datname = current_database())
   AND lock.relation = embeddings_partition(@project_id::int)
   AND lock.mode IN ('RowExclusiveLock', 'ShareRowExclusiveLock', 'ExclusiveLock', 'AccessExclusiveLock');

-- name: MakeSequencesDurable :exec
-- A sequence is only durable after a commit that used it. After a crash it could be used again.
SELECT pg_logical_emit_message(true, 'embeddings', '');

-- name: GetChanges :many
-- An embedding is listed with its last change only. 'after' is a literal, so that the tail index can be used. Texts and
-- metadata are as in GetEmbeddingsByProject.
-- A deletion is left out if the embedding exists with a lower sequence: its upload got that, then waited for the deletion.
-- OFFSET 0 makes PostgreSQL look up each of them, instead of reading all embeddings.
SELECT sequence, created_at IS NULL AS deleted, text_id, created_at, updated_at,
       vector,
       CASE WHEN sum(size) OVER () <= @max_bytes::bigint THEN text END AS text,
       CASE WHEN sum(size) OVER () <= @max_bytes::bigint THEN metadata END AS metadata,
       size
  FROM (SELECT *, CASE WHEN octet_length(text) > 1000 THEN octet_length(to_json(text)::text)
                       ELSE coalesce(octet_length(text), 0) END + coalesce(octet_length(metadata::text), 0) AS size
          FROM (SELECT sequence, text_id, created_at, updated_at,
                       CASE WHEN @with_vector::bool THEN vector END AS vector,
                       CASE WHEN @with_text::bool THEN text END AS text,
                       CASE WHEN @with_metadata::bool THEN metadata END AS metadata
                  FROM (SELECT sequence, text_id, created_at, updated_at, vector, text, metadata
                          FROM {schema}.embeddings_{project_id}
                         WHERE sequence > {after} AND sequence <= @up_to::bigint
                         UNION ALL
                       (SELECT sequence, text_id, NULL, NULL, NULL, NULL, NULL
                          FROM embedding_deletions AS deletion
                         WHERE project_id = {project_id} AND sequence > {after} AND sequence <= @up_to::bigint
                           AND NOT EXISTS (SELECT FROM {schema}.embeddings_{project_id} AS stored
                                            WHERE stored.text_id = deletion.text_id
                                              AND stored.sequence < deletion.sequence
                                           OFFSET 0)
                         ORDER BY sequence
                         LIMIT @max_rows::int)
                         ORDER BY sequence
                         LIMIT @max_rows::int) AS change) AS page
        OFFSET 0) AS sized
 ORDER BY sequence;

-- name: GetDigests :one
SELECT coalesce(array_agg(text_id ORDER BY text_id), '{}') AS text_ids,
       coalesce(array_agg(vector ORDER BY text_id), '{}') AS vectors,
       coalesce(array_agg(text ORDER BY text_id), '{}') AS texts,
       coalesce(array_agg(metadata ORDER BY text_id), '{}') AS metadata
  FROM (SELECT text_id,
               lpad(to_hex(embedding_digest(text_id, 'v', halfvec_send(vector))::bigint), 16, '0') AS vector,
               lpad(to_hex(embedding_digest(text_id, 't', convert_to(text, 'UTF8'))::bigint), 16, '0') AS text,
               lpad(to_hex(embedding_digest(text_id, 'm', convert_to(metadata::text, 'UTF8'))::bigint), 16, '0') AS metadata
          FROM {schema}.embeddings_{project_id}
         WHERE text_id >= coalesce(@after::text, '') AND (@after::text IS NULL OR text_id > @after::text)
           AND (@buckets::int[] IS NULL OR embedding_bucket(text_id) IN (SELECT unnest(@buckets::int[])))
         ORDER BY text_id
         LIMIT @max_rows::int) AS page;

-- name: GetBucketDigests :many
SELECT bucket, count(*) AS rows,
       lpad(to_hex(bit_xor(vector)::bigint), 16, '0') AS vectors,
       lpad(to_hex(coalesce(bit_xor(text), 0::bit(64))::bigint), 16, '0') AS texts,
       lpad(to_hex(coalesce(bit_xor(metadata), 0::bit(64))::bigint), 16, '0') AS metadata,
       max(text_id) AS last_text_id
  FROM (SELECT text_id, embedding_bucket(text_id) AS bucket,
               embedding_digest(text_id, 'v', halfvec_send(vector)) AS vector,
               embedding_digest(text_id, 't', convert_to(text, 'UTF8')) AS text,
               embedding_digest(text_id, 'm', convert_to(metadata::text, 'UTF8')) AS metadata
          FROM {schema}.embeddings_{project_id}
         WHERE text_id >= coalesce(@after::text, '') AND (@after::text IS NULL OR text_id > @after::text)
         ORDER BY text_id
         LIMIT @max_rows::int) AS page
 GROUP BY bucket;

-- name: ForgetDeletions :exec
-- The logs then begin after the removed deletions.
WITH forgotten AS (
    DELETE FROM embedding_deletions
     WHERE deleted_at < now() - make_interval(days => @days::int)
    RETURNING project_id, sequence
), last AS (
    SELECT project_id, max(sequence) AS sequence FROM forgotten GROUP BY project_id
)
UPDATE embedding_counts AS counted
   SET log_begins = greatest(counted.log_begins, last.sequence)
  FROM last
 WHERE counted.project_id = last.project_id AND counted.log_begins IS NOT NULL;

-- name: GetDeletedProjectsInLogs :many
-- Each step looks up the next project in the primary key, instead of reading all deletions.
WITH RECURSIVE listed AS (
    SELECT min(project_id) AS project_id FROM embedding_deletions
     UNION ALL
    SELECT (SELECT min(deletion.project_id) FROM embedding_deletions AS deletion
             WHERE deletion.project_id > listed.project_id)
      FROM listed
     WHERE listed.project_id IS NOT NULL
)
SELECT listed.project_id FROM listed
 WHERE listed.project_id IS NOT NULL
   AND NOT EXISTS (SELECT FROM embedding_counts AS counted WHERE counted.project_id = listed.project_id)
 ORDER BY listed.project_id;

-- name: ForgetLogs :exec
DELETE FROM embedding_deletions WHERE project_id = ANY (@project_ids::int[]);
