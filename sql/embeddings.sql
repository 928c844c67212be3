-- Embeddings. A statement names the partition of its project itself: embeddings_{project_id}. Through the
-- parent table a search would have to lock it too, and whoever drops a project's partition would wait for
-- every search and upload of all projects, and hold up the next ones meanwhile.

-- name: UpsertEmbeddings :many
-- A batch, in one statement. The arrays come sorted by text_id, so that concurrent batches take their
-- locks in the same order and cannot deadlock. A text or metadata that was not sent stays as it is
-- (keep_text, keep_metadata: the ids for which that holds); a row that would not change is not written,
-- and does not come back.
INSERT INTO embeddings_{project_id} AS stored (project_id, text_id, vector, text, metadata, created_at, updated_at)
SELECT {project_id}, sent.text_id, sent.vector, sent.text, sent.metadata, now(), now()
  FROM unnest(@text_ids::text[], @vectors::halfvec[], @texts::text[], @metadata::jsonb[])
       AS sent (text_id, vector, text, metadata)
ON CONFLICT (text_id, project_id) DO UPDATE
   SET vector = excluded.vector,
       text = CASE WHEN stored.text_id = ANY (@keep_text::text[]) THEN stored.text ELSE excluded.text END,
       metadata = CASE WHEN stored.text_id = ANY (@keep_metadata::text[]) THEN stored.metadata
                       ELSE excluded.metadata END,
       sequence = excluded.sequence,
       -- Always later than created_at, even in the transaction that created the row: so the two tell
       -- an inserted row from an updated one. (xmax cannot be asked for on a partition's parent.)
       updated_at = greatest(now(), stored.created_at + interval '1 microsecond')
 WHERE stored.vector IS DISTINCT FROM excluded.vector
    OR (stored.text IS DISTINCT FROM excluded.text AND stored.text_id <> ALL (@keep_text::text[]))
    OR (stored.metadata IS DISTINCT FROM excluded.metadata AND stored.text_id <> ALL (@keep_metadata::text[]))
RETURNING stored.updated_at = stored.created_at AS inserted;

-- name: GetWithoutMetadata :many
-- Which of these ids have no metadata, or are none at all.
SELECT sent.text_id
  FROM unnest(@text_ids::text[]) AS sent (text_id)
 WHERE NOT EXISTS (SELECT FROM embeddings_{project_id} AS stored
                    WHERE stored.text_id = sent.text_id AND stored.metadata <> 'null');

-- name: CountEmbeddings :one
SELECT count(*) FROM embeddings_{project_id};

-- name: GetEmbeddingsByProject :many
-- In the order of text_id. What is not asked for is not read: a vector alone may be most of a row. When text and metadata
-- of several rows are more than max_bytes, these stay behind, and only 'page_bytes' says how many there are.
SELECT text_id, created_at, updated_at,
       CASE WHEN @with_vector::bool THEN vector END AS vector,
       CASE WHEN fits THEN text END AS text,
       CASE WHEN fits THEN metadata END AS metadata,
       page_bytes
  FROM (SELECT *, page_bytes <= @max_bytes::bigint OR page_rows = 1 AS fits
          FROM (SELECT *, sum(bytes) OVER () AS page_bytes, count(*) OVER () AS page_rows
                  FROM (SELECT text_id, created_at, updated_at, vector,
                               CASE WHEN @with_text::bool THEN text END AS text,
                               CASE WHEN @with_metadata::bool THEN metadata END AS metadata,
                               CASE WHEN @with_text::bool THEN coalesce(octet_length(text), 0) ELSE 0 END
                               + CASE WHEN @with_metadata::bool THEN coalesce(octet_length(metadata::text), 0) ELSE 0 END
                                   AS bytes
                          FROM embeddings_{project_id}
                         WHERE @after::text IS NULL OR text_id > @after::text
                         ORDER BY text_id
                         LIMIT @max_rows::int OFFSET @skip::bigint) AS page) AS counted) AS compared
 ORDER BY text_id;

-- name: RetrieveEmbeddings :one
-- One embedding, by the first of the ids that there is: literally, or as older clients stored it.
SELECT text_id, created_at, updated_at, vector, text, metadata
  FROM embeddings_{project_id}
 WHERE text_id = ANY (@text_ids::text[])
 ORDER BY array_position(@text_ids::text[], text_id)
 LIMIT 1;

-- name: RetrieveVector :one
-- The vector of an embedding, looked for as in RetrieveEmbeddings.
SELECT text_id, vector
  FROM embeddings_{project_id}
 WHERE text_id = ANY (@text_ids::text[])
 ORDER BY array_position(@text_ids::text[], text_id)
 LIMIT 1;

-- name: DeleteEmbedding :one
DELETE FROM embeddings_{project_id}
 WHERE text_id = (SELECT text_id FROM embeddings_{project_id}
                   WHERE text_id = ANY (@text_ids::text[])
                   ORDER BY array_position(@text_ids::text[], text_id)
                   LIMIT 1)
RETURNING text_id;

-- name: DeleteEmbeddingsByProject :exec
-- In about the same time for any number of them.
SELECT empty_embeddings_partition(@project_id::int);
