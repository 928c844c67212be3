-- Every id with a percent escape is found by both forms again, as before.
CREATE OR REPLACE FUNCTION carry_embeddings(max_rows integer, OUT looked_at bigint, OUT carried bigint)
LANGUAGE sql AS $$
    WITH batch AS MATERIALIZED (
        SELECT embeddings_id, obstacle FROM embeddings_to_carry ORDER BY embeddings_id LIMIT max_rows
    ), moved AS (
        INSERT INTO embeddings
            (project_id, text_id, sequence, vector, text, metadata, created_at, updated_at)
        SELECT old.project_id, old.text_id, old.embeddings_id, old.vector, old.text, old.metadata,
               old.created_at, old.updated_at
          FROM batch
          JOIN embeddings_unmigrated AS old USING (embeddings_id)
         WHERE batch.obstacle IS NULL
         ORDER BY old.project_id, old.text_id COLLATE "C"
            -- Embeddings uploaded to the new schema are newer.
            ON CONFLICT (text_id, project_id) DO NOTHING
        RETURNING sequence
    ), gone AS (
        DELETE FROM embeddings_unmigrated
         USING moved
         WHERE embeddings_unmigrated.embeddings_id = moved.sequence
    ), left_over AS (
        UPDATE embeddings_unmigrated
           SET obstacle = coalesce(batch.obstacle, 'another one of the same text_id is carried')
          FROM batch
         WHERE embeddings_unmigrated.embeddings_id = batch.embeddings_id
           AND NOT EXISTS (SELECT FROM moved WHERE moved.sequence = batch.embeddings_id)
    )
    SELECT (SELECT count(*) FROM batch), (SELECT count(*) FROM moved)
$$;

DROP FUNCTION mark_carried_ids(integer);
DROP TABLE projects_to_mark;
DROP TABLE carried_ids;
