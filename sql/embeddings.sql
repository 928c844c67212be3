-- Embeddings. Each project has its own table, embeddings_{project_id}. Statements that write rows add their counts to
-- embedding_count_deltas: see FoldCounts in counts.sql.

-- name: UpsertEmbeddings :one
-- The arrays are sorted by text_id, so that concurrent batches lock rows in the same order and cannot deadlock.
-- Unchanged rows are not written.
-- A generic plan (service/database/pool.py) compares each row with each element of an array, but hashes a subquery.
WITH written AS (
    INSERT INTO {schema}.embeddings_{project_id} AS stored
           (project_id, text_id, vector, text, metadata, created_at, updated_at)
    SELECT {project_id}, sent.text_id, sent.vector, sent.text, sent.metadata, now(), now()
      FROM unnest(@text_ids::text[], @vectors::halfvec[], @texts::text[], @metadata::jsonb[])
           AS sent (text_id, vector, text, metadata)
    ON CONFLICT (text_id, project_id) DO UPDATE
       SET vector = excluded.vector,
           text = CASE WHEN stored.text_id IN (SELECT unnest(@keep_text::text[])) THEN stored.text ELSE excluded.text END,
           metadata = CASE WHEN stored.text_id IN (SELECT unnest(@keep_metadata::text[])) THEN stored.metadata
                           ELSE excluded.metadata END,
           sequence = excluded.sequence,
           -- Always later than created_at, even in the same transaction, to distinguish inserts and updates.
           updated_at = greatest(now(), stored.created_at + interval '1 microsecond')
     WHERE stored.vector IS DISTINCT FROM excluded.vector
        OR (stored.text IS DISTINCT FROM excluded.text AND stored.text_id NOT IN (SELECT unnest(@keep_text::text[])))
        OR (stored.metadata IS DISTINCT FROM excluded.metadata
            AND stored.text_id NOT IN (SELECT unnest(@keep_metadata::text[])))
    RETURNING stored.updated_at = stored.created_at AS inserted
), summed AS (
    SELECT count(*) FILTER (WHERE inserted) AS inserted, count(*) FILTER (WHERE NOT inserted) AS updated FROM written
), counted AS (
    INSERT INTO embedding_count_deltas (project_id, embeddings, changes)
    SELECT {project_id}, inserted, inserted + updated FROM summed WHERE inserted + updated > 0
)
SELECT inserted, updated FROM summed;

-- name: GetWithoutMetadata :many
SELECT sent.text_id
  FROM unnest(@text_ids::text[]) AS sent (text_id)
 WHERE NOT EXISTS (SELECT FROM {schema}.embeddings_{project_id} AS stored
                    WHERE stored.text_id = sent.text_id AND stored.metadata <> 'null');

-- name: GetEmbeddedTexts :many
SELECT stored.text_id,
       CASE WHEN @with_all_vectors::bool
              OR (NOT sent.keeps_metadata AND stored.metadata IS DISTINCT FROM sent.metadata) THEN stored.vector END AS vector
  FROM unnest(@text_ids::text[], @texts::text[], @metadata::jsonb[], @keep_metadata::bool[])
           AS sent (text_id, text, metadata, keeps_metadata)
  JOIN {schema}.embeddings_{project_id} AS stored ON stored.text_id = sent.text_id AND stored.text = sent.text;

-- name: GetEmbeddingsByProject :many
-- A connection that has searched makes generic plans (service/database/pool.py), which do not use the index for a
-- condition with IS NULL; so this has a second one, and 'by_ids' is in the text.
-- Columns that are not requested are not read: a vector may be most of a row. Texts and metadata above max_bytes in all
-- are left out; 'size' is that of a row, so that the caller can reserve memory first. The size of a long text is that in
-- JSON, where a control character has six bytes. OFFSET 0 makes PostgreSQL compute it once.
SELECT text_id, created_at, updated_at, vector,
       CASE WHEN sum(size) OVER () <= @max_bytes::bigint THEN text END AS text,
       CASE WHEN sum(size) OVER () <= @max_bytes::bigint THEN metadata END AS metadata,
       size
  FROM (SELECT *, CASE WHEN octet_length(text) > 1000 THEN octet_length(to_json(text)::text)
                       ELSE coalesce(octet_length(text), 0) END + coalesce(octet_length(metadata::text), 0) AS size
          FROM (SELECT text_id, created_at, updated_at,
                       CASE WHEN @with_vector::bool THEN vector END AS vector,
                       CASE WHEN @with_text::bool THEN text END AS text,
                       CASE WHEN @with_metadata::bool THEN metadata END AS metadata
                  FROM {schema}.embeddings_{project_id}
                 WHERE ({by_ids} = 0 OR text_id = ANY (@text_ids::text[]))
                   AND text_id >= coalesce(@after::text, '') AND (@after::text IS NULL OR text_id > @after::text)
                 ORDER BY text_id
                 LIMIT @max_rows::int OFFSET @skip::bigint) AS page
        OFFSET 0) AS sized
 ORDER BY text_id;

-- name: GetPassingIDs :one
SELECT ARRAY(SELECT text_id
               FROM (SELECT text_id, metadata
                       FROM {schema}.embeddings_{project_id}
                      WHERE text_id > @after::text
                      ORDER BY text_id
                      LIMIT @rows::int) AS page
              WHERE coalesce(metadata, '{}') @@ @only::jsonpath
              LIMIT @max_rows::int) AS text_ids,
       (SELECT text_id
          FROM {schema}.embeddings_{project_id}
         WHERE text_id > @after::text
         ORDER BY text_id
         LIMIT 1 OFFSET @rows::int - 1) AS last;

-- name: AreEmbeddingsAfter :one
SELECT EXISTS (SELECT FROM {schema}.embeddings_{project_id} WHERE text_id > @after::text);

-- name: RetrieveEmbeddings :one
SELECT text_id, created_at, updated_at, vector,
       CASE WHEN size <= @max_bytes::bigint THEN text END AS text,
       CASE WHEN size <= @max_bytes::bigint THEN metadata END AS metadata,
       size
  FROM (SELECT *, CASE WHEN octet_length(text) > 1000 THEN octet_length(to_json(text)::text)
                       ELSE coalesce(octet_length(text), 0) END + coalesce(octet_length(metadata::text), 0) AS size
          FROM {schema}.embeddings_{project_id}
         WHERE text_id = ANY (array_prepend((@text_ids::text[])[1], ARRAY(
                   SELECT text_id FROM carried_ids
                    WHERE project_id = {project_id} AND text_id = ANY (@text_ids::text[]))))
         ORDER BY array_position(@text_ids::text[], text_id)
         LIMIT 1) AS embedding;

-- name: DeleteEmbedding :one
-- All the ids lose their mark, so that the same path does not find another embedding afterwards.
WITH doomed AS (
    DELETE FROM {schema}.embeddings_{project_id}
     WHERE text_id = (SELECT text_id FROM {schema}.embeddings_{project_id}
                       WHERE text_id = ANY (array_prepend((@text_ids::text[])[1], ARRAY(
                                 SELECT text_id FROM carried_ids
                                  WHERE project_id = {project_id} AND text_id = ANY (@text_ids::text[]))))
                       ORDER BY array_position(@text_ids::text[], text_id)
                       LIMIT 1)
    RETURNING text_id
), unmarked AS (
    DELETE FROM carried_ids
     WHERE project_id = {project_id} AND text_id = ANY (@text_ids::text[]) AND EXISTS (SELECT FROM doomed)
), counted AS (
    INSERT INTO embedding_count_deltas (project_id, embeddings, changes) SELECT {project_id}, -1, 1 FROM doomed
)
SELECT text_id FROM doomed;

-- name: DeleteEmbeddings :one
-- Locks rows in the order of text_id, like uploads. 'by_ids' is in the text, so that a generic plan uses the index.
WITH doomed AS MATERIALIZED (
    SELECT text_id FROM {schema}.embeddings_{project_id}
     WHERE ({by_ids} = 0 OR text_id = ANY (@text_ids::text[]))
       AND (@only::jsonpath IS NULL OR coalesce(metadata, '{}') @@ @only::jsonpath)
     ORDER BY text_id
       FOR UPDATE
), deleted AS (
    DELETE FROM {schema}.embeddings_{project_id} AS stored USING doomed
     WHERE stored.text_id = doomed.text_id AND NOT @is_dry_run::bool
    RETURNING stored.text_id
), unmarked AS (
    DELETE FROM carried_ids USING deleted
     WHERE carried_ids.project_id = {project_id} AND carried_ids.text_id = deleted.text_id
), counted AS (
    INSERT INTO embedding_count_deltas (project_id, embeddings, changes)
    SELECT {project_id}, -count(*), count(*) FROM deleted HAVING count(*) > 0
)
SELECT count(*) AS deleted, ARRAY(SELECT text_id FROM doomed ORDER BY text_id LIMIT @max_ids::int) AS text_ids FROM doomed;

-- name: DeleteEmbeddingsByProject :exec
-- Truncates the table.
WITH unmarked AS (
    DELETE FROM carried_ids WHERE project_id = @project_id::int
)
SELECT empty_embeddings_partition(@project_id::int);
