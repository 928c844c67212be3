-- What is similar. See embeddings.sql for why the partition is named.

-- name: GetSimilarsByVector :many
-- The nearest by cosine, best first, ties by id. The rows are cut to the number asked for before the
-- threshold is looked at: what is nearer than a row that passes passes too, and so the distance is
-- computed once a row.
SELECT nearest.text_id AS id, 1 - nearest.distance AS similarity
  FROM (SELECT text_id, vector <=> @vector::halfvec AS distance
          FROM embeddings_{project_id}
         WHERE text_id IS DISTINCT FROM @except_id::text
           -- Leaves out the rows whose metadata field has the value.
           AND (@metadata_path::text IS NULL
                OR btrim(metadata ->> @metadata_path::text) IS DISTINCT FROM btrim(@metadata_value::text))
         ORDER BY distance, text_id
         LIMIT @max_rows::bigint + @skip::bigint
       ) AS nearest
 WHERE 1 - nearest.distance >= @threshold::float8
 ORDER BY nearest.distance, nearest.text_id
OFFSET @skip::bigint;
