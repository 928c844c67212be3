-- Similarity search. See indexes.sql for the index and its tail. Results have a row per sent vector, in order. LIMIT and
-- OFFSET are applied before the threshold, which does not change the result: rows nearer than a passing row pass too.

-- name: GetSimilarsByVector :many
SELECT found.ids, found.similarities
  FROM unnest(@vectors::halfvec[]) WITH ORDINALITY AS sent (vector, place)
 CROSS JOIN LATERAL (
      SELECT coalesce(array_agg(best.text_id ORDER BY best.distance, best.text_id), '{}') AS ids,
             coalesce(array_agg(1 - best.distance ORDER BY best.distance, best.text_id), '{}') AS similarities
        FROM (SELECT text_id, vector <=> sent.vector AS distance
                FROM {schema}.embeddings_{project_id}
               WHERE text_id IS DISTINCT FROM @except_id::text
                 AND (@metadata_path::text IS NULL
                      OR btrim(metadata ->> @metadata_path::text) IS DISTINCT FROM btrim(@metadata_value::text))
                 -- A filter compiled by service/search/filters.py.
                 AND (@only::jsonpath IS NULL OR coalesce(metadata, '{}') @@ @only::jsonpath)
               ORDER BY distance, text_id
               LIMIT @max_rows::bigint OFFSET @skip::bigint) AS best
       WHERE 1 - best.distance >= @threshold::float8
      ) AS found
 ORDER BY sent.place;

-- name: GetSimilarsByIndex :many
-- Reads the index up to its watermark, and the tail sequentially.
-- 'complete' is false if the index may have omitted rows: it returned too few, none below the threshold. With a filter
-- all candidates are needed, because the recall depends on them.
-- 'tied' is true if the index returned no row beyond the last wanted one: others may be equally near, with lower ids.
-- All that affects the plan is in the text (watermark, filter or not, numbers of vectors and candidates), so a generic
-- plan is as good as a custom one, which would take 0.2 ms per search.
-- No rows without this index as it was measured: another would have another recall. A replica may not have it yet.
-- With 'confirms', the caller must have access now (as in RetrieveProjectAccess) to the project of this name, because
-- the earlier access is only cached.
SELECT found.ids, found.similarities, found.complete, found.tied
  FROM (SELECT vector, place
          FROM unnest(@vectors::halfvec[]) WITH ORDINALITY AS each (vector, place)
         WHERE EXISTS (SELECT FROM project_indexes AS built
                        WHERE built.project_id = {project_id} AND built.watermark = {watermark}
                          AND built.measured_at = @measured_at::timestamptz)
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
      WITH passing AS NOT MATERIALIZED (
          SELECT text_id, sequence, vector
            FROM {schema}.embeddings_{project_id}
           WHERE text_id IS DISTINCT FROM @except_id::text
             AND ({filtered} = 0 OR @metadata_path::text IS NULL
                  OR btrim(metadata ->> @metadata_path::text) IS DISTINCT FROM btrim(@metadata_value::text))
             AND ({filtered} = 0 OR @only::jsonpath IS NULL OR coalesce(metadata, '{}') @@ @only::jsonpath)
      ), indexed AS MATERIALIZED (
          -- Not the expression of the index, whose scan is ordered by rounded distances, so that the planner does not
          -- assume that this column is sorted.
          SELECT text_id, vector <=> sent.vector AS distance
            FROM passing
           WHERE sequence <= {watermark}
             -- Without text_id, which is not in the index.
           ORDER BY vector::halfvec({dimensions}) <=> sent.vector::halfvec({dimensions})
           LIMIT {candidates}
      ), tail AS MATERIALIZED (
          SELECT text_id, vector <=> sent.vector AS distance
            FROM passing
           WHERE sequence > {watermark}
           ORDER BY distance, text_id
           LIMIT {candidates}
      ), best AS (
          SELECT text_id, distance FROM indexed UNION ALL SELECT text_id, distance FROM tail
           ORDER BY distance, text_id
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
-- One of the two metadata indexes finds the rows up to its watermark.
WITH passing AS MATERIALIZED (
    SELECT text_id, vector
      FROM (SELECT text_id, vector, metadata
              FROM {schema}.embeddings_{project_id}
             WHERE sequence <= {watermark}
               AND ({by_terms} = 1 OR metadata @@ @indexed::jsonpath)
               AND ({by_terms} = 0 OR metadata_terms(metadata) COLLATE "C" && @terms::text[])
             UNION ALL
            SELECT text_id, vector, metadata
              FROM {schema}.embeddings_{project_id}
             WHERE sequence > {watermark}) AS candidate
     WHERE coalesce(metadata, '{}') @@ @only::jsonpath
       AND text_id IS DISTINCT FROM @except_id::text
       AND (@metadata_path::text IS NULL
            OR btrim(metadata ->> @metadata_path::text) IS DISTINCT FROM btrim(@metadata_value::text))
)
SELECT found.ids, found.similarities
  FROM unnest(@vectors::halfvec[]) WITH ORDINALITY AS sent (vector, place)
 CROSS JOIN LATERAL (
      SELECT coalesce(array_agg(best.text_id ORDER BY best.distance, best.text_id), '{}') AS ids,
             coalesce(array_agg(1 - best.distance ORDER BY best.distance, best.text_id), '{}') AS similarities
        FROM (SELECT text_id, vector <=> sent.vector AS distance
                FROM passing
               ORDER BY distance, text_id
               LIMIT @max_rows::bigint OFFSET @skip::bigint) AS best
       WHERE 1 - best.distance >= @threshold::float8
      ) AS found
 ORDER BY sent.place;

-- name: EstimatePassingRows :one
EXPLAIN (FORMAT JSON) SELECT FROM {schema}.embeddings_{project_id} WHERE metadata @@ @only::jsonpath;
