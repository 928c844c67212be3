-- What is similar. See indexes.sql for the index and its tail.
-- Each sent vector gives a row, in order, of the ids and similarities of its nearest, best first, ties by id. Rows that
-- are cut off are cut off before the threshold is looked at: a row nearer than one that passes passes too.

-- name: GetSimilarsByVector :many
-- Exactly: all rows are read.
SELECT found.ids, found.similarities
  FROM unnest(@vectors::halfvec[]) WITH ORDINALITY AS sent (vector, place)
 CROSS JOIN LATERAL (
      SELECT coalesce(array_agg(best.text_id ORDER BY best.distance, best.text_id), '{}') AS ids,
             coalesce(array_agg(1 - best.distance ORDER BY best.distance, best.text_id), '{}') AS similarities
        FROM (SELECT nearest.text_id, nearest.distance
                FROM (SELECT text_id, vector <=> sent.vector AS distance
                        FROM {schema}.embeddings_{project_id}
                       WHERE text_id IS DISTINCT FROM @except_id::text
                         -- Leaves out the rows whose metadata field has the value.
                         AND (@metadata_path::text IS NULL
                              OR btrim(metadata ->> @metadata_path::text)
                                 IS DISTINCT FROM btrim(@metadata_value::text))
                         -- A filter document as service/search/filters.py puts it. A row without metadata has no fields.
                         AND (@only::jsonpath IS NULL
                              OR coalesce(metadata, '{}') @@ @only::jsonpath)
                       ORDER BY distance, text_id
                       LIMIT @max_rows::bigint + @skip::bigint
                     ) AS nearest
               WHERE 1 - nearest.distance >= @threshold::float8
               ORDER BY nearest.distance, nearest.text_id
              OFFSET @skip::bigint) AS best
      ) AS found
 ORDER BY sent.place;

-- name: GetSimilarsByIndex :many
-- Through the index up to its watermark, and one by one in the tail behind it. 'complete' is false when the index may
-- have left out rows that should be here: it stopped before there were enough, with rows that pass the threshold. Of
-- rows that pass a filter it needs all candidates, because those are what the recall depends on.
-- 'tied' is true when the index gave no row that is farther than the last one wanted: others may be as near as that one,
-- and come before it by their id.
-- What decides the plan stands in the text: the watermark, whether anything is filtered, and how many vectors and
-- candidates there are. So the plan that PostgreSQL keeps is as good as a new one; to plan each search anew takes 0.2 ms.
-- No rows when the project has neither this index nor a later one, which has its rows too: without it the search would
-- be slow. On a replica it may not have come yet.
-- With 'confirms' also none unless the caller may see the project now (as RetrieveProjectAccess decides), which still
-- has this name and this very index, with the recalls that were measured then: earlier access is only remembered.
SELECT found.ids, found.similarities, found.complete, found.tied
  FROM (SELECT vector, place
          FROM unnest(@vectors::halfvec[]) WITH ORDINALITY AS each (vector, place)
         WHERE EXISTS (SELECT FROM project_indexes AS built
                        WHERE built.project_id = {project_id} AND built.watermark >= {watermark}
                          AND ({confirms} = 0
                               OR (built.watermark = {watermark} AND built.measured_at = @measured_at::timestamptz)))
           AND ({confirms} = 0
                OR EXISTS (SELECT FROM projects AS project
                             LEFT JOIN users AS caller ON caller.vdb_key = @key_hash::text
                            WHERE project.project_id = {project_id} AND project.owner = @owner::text
                              AND project.project_handle = @project_handle::text
                              AND (@is_admin::bool
                                   OR (project.public_read
                                       AND (@key_hash::text IS NULL OR caller.user_handle IS NOT NULL))
                                   OR EXISTS (SELECT FROM project_access AS access
                                               WHERE access.project_id = project.project_id
                                                 AND access.user_handle = caller.user_handle))))
         LIMIT {at_most}) AS sent
 CROSS JOIN LATERAL (
      WITH indexed AS MATERIALIZED (
          -- Not the expression of the index: its scan is ordered by rounded distances only, and the planner would take
          -- this column for sorted.
          SELECT text_id, vector <=> sent.vector AS distance
            FROM {schema}.embeddings_{project_id}
           WHERE sequence <= {watermark}
             AND text_id IS DISTINCT FROM @except_id::text
             AND ({filtered} = 0 OR @metadata_path::text IS NULL
                  OR btrim(metadata ->> @metadata_path::text) IS DISTINCT FROM btrim(@metadata_value::text))
             AND ({filtered} = 0 OR @only::jsonpath IS NULL
                  OR coalesce(metadata, '{}') @@ @only::jsonpath)
             -- Without text_id, which the index does not know.
           ORDER BY vector::halfvec({dimensions}) <=> sent.vector::halfvec({dimensions})
           LIMIT {candidates}
      ), tail AS MATERIALIZED (
          SELECT text_id, vector <=> sent.vector AS distance
            FROM {schema}.embeddings_{project_id}
           WHERE sequence > {watermark}
             AND text_id IS DISTINCT FROM @except_id::text
             AND ({filtered} = 0 OR @metadata_path::text IS NULL
                  OR btrim(metadata ->> @metadata_path::text) IS DISTINCT FROM btrim(@metadata_value::text))
             AND ({filtered} = 0 OR @only::jsonpath IS NULL
                  OR coalesce(metadata, '{}') @@ @only::jsonpath)
           ORDER BY distance, text_id
           LIMIT {candidates}
      ), best AS (
          SELECT both_sides.text_id, both_sides.distance
            FROM (SELECT text_id, distance FROM indexed UNION ALL SELECT text_id, distance FROM tail) AS both_sides
           ORDER BY both_sides.distance, both_sides.text_id
           LIMIT @max_rows::bigint OFFSET @skip::bigint
      )
      SELECT coalesce(array_agg(best.text_id ORDER BY best.distance, best.text_id), '{}') AS ids,
             coalesce(array_agg(1 - best.distance ORDER BY best.distance, best.text_id), '{}') AS similarities,
             count(*) = @max_rows::bigint AND (SELECT max(distance) FROM indexed) <= max(best.distance) AS tied,
             (SELECT count(*) >= CASE {filtered} WHEN 0 THEN @max_rows::bigint + @skip::bigint ELSE {candidates} END
                     OR ({filtered} = 0 AND 1 - max(distance) < @threshold::float8)
                FROM indexed) IS TRUE AS complete
        FROM best
       WHERE 1 - best.distance >= @threshold::float8
      ) AS found
 ORDER BY sent.place;

-- name: GetSimilarsByFilter :many
-- Exactly, of the rows that pass a filter: the index of the metadata finds those up to its watermark.
WITH passing AS MATERIALIZED (
    SELECT text_id, vector
      FROM {schema}.embeddings_{project_id}
     WHERE sequence <= {watermark}
       AND metadata @@ @indexed::jsonpath
       AND coalesce(metadata, '{}') @@ @only::jsonpath
       AND text_id IS DISTINCT FROM @except_id::text
       AND (@metadata_path::text IS NULL
            OR btrim(metadata ->> @metadata_path::text) IS DISTINCT FROM btrim(@metadata_value::text))
     UNION ALL
    SELECT text_id, vector
      FROM {schema}.embeddings_{project_id}
     WHERE sequence > {watermark}
       AND coalesce(metadata, '{}') @@ @only::jsonpath
       AND text_id IS DISTINCT FROM @except_id::text
       AND (@metadata_path::text IS NULL
            OR btrim(metadata ->> @metadata_path::text) IS DISTINCT FROM btrim(@metadata_value::text))
)
SELECT found.ids, found.similarities
  FROM unnest(@vectors::halfvec[]) WITH ORDINALITY AS sent (vector, place)
 CROSS JOIN LATERAL (
      SELECT coalesce(array_agg(best.text_id ORDER BY best.distance, best.text_id), '{}') AS ids,
             coalesce(array_agg(1 - best.distance ORDER BY best.distance, best.text_id), '{}') AS similarities
        FROM (SELECT nearest.text_id, nearest.distance
                FROM (SELECT text_id, vector <=> sent.vector AS distance
                        FROM passing
                       ORDER BY distance, text_id
                       LIMIT @max_rows::bigint + @skip::bigint
                     ) AS nearest
               WHERE 1 - nearest.distance >= @threshold::float8
               ORDER BY nearest.distance, nearest.text_id
              OFFSET @skip::bigint) AS best
      ) AS found
 ORDER BY sent.place;

-- name: EstimatePassingRows :one
-- PostgreSQL's plan, in which is how many rows it takes to pass the filter, from its statistics of the metadata.
EXPLAIN (FORMAT JSON) SELECT FROM {schema}.embeddings_{project_id} WHERE metadata @@ @only::jsonpath;

-- name: GetShownSizes :many
-- The number of bytes of the texts and metadata to be shown of the results. A text is not read for that.
SELECT text_id,
       CASE WHEN @with_text::bool THEN coalesce(octet_length(text), 0) ELSE 0 END
           + CASE WHEN @with_metadata::bool THEN coalesce(octet_length(metadata::text), 0) ELSE 0 END AS size
  FROM {schema}.embeddings_{project_id}
 WHERE text_id = ANY (@text_ids::text[]);

-- name: GetTextsAndMetadata :many
-- What is to be shown of the results. What is not asked for is not read.
SELECT text_id,
       CASE WHEN @with_text::bool THEN text END AS text,
       CASE WHEN @with_metadata::bool THEN metadata END AS metadata
  FROM {schema}.embeddings_{project_id}
 WHERE text_id = ANY (@text_ids::text[]);
