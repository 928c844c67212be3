-- Maps of projects: their embeddings as points in two dimensions. See service/storage/maps.py.

-- name: RetrieveMap :one
-- 'id_bytes' is the size of the ids in JSON, where a control character has six bytes.
SELECT count_embeddings(counted.project_id) AS rows,
       counted.changes + (SELECT coalesce(sum(delta.changes), 0)::bigint FROM embedding_count_deltas AS delta
                           WHERE delta.project_id = counted.project_id) AS changes_now,
       map.asked_at, map.stage, map.progress, map.failed_at, map.error, map.made_at, map.changes,
       coalesce(map.has_neighbours, false) AS has_neighbours, coalesce(map.explained, '{}') AS explained, map.trust_sample, map.trust_of_pca, map.trust_of_neighbours,
       (SELECT coalesce(sum(octet_length(array_to_json(placed.text_ids)::text)), 0)::bigint FROM project_map_parts AS placed
         WHERE placed.project_id = counted.project_id AND placed.part < @parts::int) AS id_bytes
  FROM embedding_counts AS counted
  LEFT JOIN project_maps AS map ON map.project_id = counted.project_id
 WHERE counted.project_id = @project_id::int;

-- name: AskForMap :exec
INSERT INTO project_maps AS map (project_id, asked_at)
SELECT project_id, clock_timestamp() FROM projects WHERE project_id = @project_id::int
    ON CONFLICT (project_id) DO UPDATE SET asked_at = excluded.asked_at WHERE map.asked_at IS NULL;

-- name: GetMapPoints :many
-- 'field' has short scalars, and null for other values.
SELECT CASE WHEN @by_neighbours::bool THEN placed.neighbours ELSE placed.pca END AS positions,
       coalesce(live.places, '{}') AS places, coalesce(live.text_ids, '{}') AS text_ids, live.field
  FROM project_map_parts AS placed
 CROSS JOIN LATERAL (
       SELECT array_agg(point.place ORDER BY point.place) AS places, array_agg(point.text_id ORDER BY point.place) AS text_ids,
              CASE WHEN @field::jsonpath IS NOT NULL THEN jsonb_agg(point.value ORDER BY point.place) END AS field
         FROM (SELECT listed.place, listed.text_id,
                      CASE jsonb_typeof(found.value)
                           WHEN 'string' THEN to_jsonb(left(found.value #>> '{}', @longest::int))
                           WHEN 'boolean' THEN found.value
                           WHEN 'number' THEN CASE WHEN octet_length(found.value::text) <= @longest::int
                                                    AND abs(found.value::numeric) < 9e15 THEN found.value END END AS value
                 FROM unnest(placed.text_ids) WITH ORDINALITY AS listed (text_id, place)
                 JOIN {schema}.embeddings_{project_id} AS stored ON stored.text_id = listed.text_id
                CROSS JOIN LATERAL (
                      SELECT CASE WHEN @field::jsonpath IS NOT NULL
                                  THEN jsonb_path_query_first(stored.metadata, @field::jsonpath, '{}', true) END AS value
                     ) AS found) AS point) AS live
 WHERE placed.project_id = {project_id} AND placed.part < @parts::int
 ORDER BY placed.part;

-- name: RetrieveAskedMap :one
SELECT map.project_id, instance.dimensions, counted.log::text AS log,
       count_embeddings(map.project_id) AS rows,
       counted.changes + (SELECT coalesce(sum(delta.changes), 0)::bigint FROM embedding_count_deltas AS delta
                           WHERE delta.project_id = map.project_id) AS changes,
       map.basis, map.base_changes, map.base_rows, map.has_neighbours
  FROM project_maps AS map
  JOIN embedding_counts AS counted ON counted.project_id = map.project_id
  JOIN projects AS project ON project.project_id = map.project_id
  JOIN llm_service_instances AS instance ON instance.instance_id = project.llm_service_instance_id
 WHERE map.asked_at IS NOT NULL
 ORDER BY map.asked_at, map.project_id
 LIMIT 1;

-- name: NoteMapProgress :execrows
UPDATE project_maps AS map SET stage = @stage::text, progress = @progress::float8, error = NULL, failed_at = NULL
  FROM embedding_counts AS counted
 WHERE map.project_id = @project_id::int AND counted.project_id = map.project_id AND counted.log = @log::text::uuid;

-- name: RetrieveSampleEnd :one
SELECT embedding_order(text_id) AS last FROM {schema}.embeddings_{project_id}
 ORDER BY last OFFSET @rows::int - 1 LIMIT 1;

-- name: CopySample :copy
SELECT text_id, sequence, embedding_order(text_id), vector FROM {schema}.embeddings_{project_id}
 WHERE embedding_order(text_id) <= {last};

-- name: GetMapLayout :many
SELECT sequences, neighbours AS positions FROM project_map_parts
 WHERE project_id = @project_id::int AND neighbours IS NOT NULL
 ORDER BY part;

-- name: StoreMap :execrows
-- StoreMapPart comes next, in the same transaction. An emptied project has another log, and no parts.
WITH forgotten AS (DELETE FROM project_map_parts WHERE project_id = @project_id::int)
UPDATE project_maps AS map
   SET made_at = clock_timestamp(), changes = @changes::bigint, base_changes = @base_changes::bigint,
       base_rows = @base_rows::bigint, basis = @basis::bytea, has_neighbours = @has_neighbours::bool,
       explained = @explained::float8[], trust_sample = @trust_sample::int, trust_of_pca = @trust_of_pca::float8,
       trust_of_neighbours = @trust_of_neighbours::float8
  FROM embedding_counts AS counted
 WHERE map.project_id = @project_id::int AND counted.project_id = map.project_id AND counted.log = @log::text::uuid;

-- name: StoreMapPart :exec
INSERT INTO project_map_parts (project_id, part, text_ids, sequences, pca, neighbours)
VALUES (@project_id::int, @part::int, @text_ids::text[], @sequences::bytea, @pca::bytea, @neighbours::bytea);

-- name: EndMap :exec
-- An emptied project has another log, and perhaps another request.
UPDATE project_maps AS map
   SET asked_at = NULL, stage = NULL, progress = NULL, error = @error::text,
       failed_at = CASE WHEN @error::text IS NOT NULL THEN clock_timestamp() END
  FROM embedding_counts AS counted
 WHERE map.project_id = @project_id::int AND counted.project_id = map.project_id AND counted.log = @log::text::uuid;
