-- An id in a path means itself. Clients of an original database stored ids percent-encoded and name them so in paths,
-- which would then be other ids: only what came from such a database is found by that form too.

-- The migrated ids with a percent escape. A mark is deleted with its embedding.
CREATE TABLE carried_ids (
    project_id integer NOT NULL
        CONSTRAINT carried_ids_project_id_fkey REFERENCES projects ON DELETE CASCADE,
    text_id    text COLLATE "C" NOT NULL,
    CONSTRAINT carried_ids_pkey PRIMARY KEY (project_id, text_id)
);

-- Projects of a database that was taken over before there were marks, until they have theirs.
CREATE TABLE projects_to_mark (
    project_id  integer NOT NULL
        CONSTRAINT projects_to_mark_pkey PRIMARY KEY
        CONSTRAINT projects_to_mark_project_id_fkey REFERENCES projects ON DELETE CASCADE,
    -- Unchanged migrated embeddings have a sequence up to `last_number`. Changed ones have a higher sequence, but were
    -- created before the takeover.
    last_number bigint NOT NULL,
    taken_over  timestamptz NOT NULL
);

DO $$
DECLARE
    numbers record;
BEGIN
    SELECT last_value, is_called INTO numbers FROM embeddings_embeddings_id_seq;
    -- An unused sequence means that the original database had no embeddings.
    IF numbers.is_called AND to_regclass(format('%I._yoyo_migration', current_schema())) IS NOT NULL THEN
        INSERT INTO projects_to_mark (project_id, last_number, taken_over)
        SELECT project.project_id, numbers.last_value, step.applied_at_utc AT TIME ZONE 'UTC'
          FROM projects AS project
          JOIN _yoyo_migration AS step ON step.migration_id = '0005_partition_embeddings'
         WHERE embeddings_partition(project.project_id) IS NOT NULL;
    END IF;
END
$$;

-- Marks the ids that were carried into the next projects, at most max_projects: PostgreSQL cannot lock thousands of tables in one
-- transaction. Returns how many projects it was.
CREATE FUNCTION mark_carried_ids(max_projects integer) RETURNS bigint
LANGUAGE plpgsql AS $$
DECLARE
    project record;
    marked bigint := 0;
BEGIN
    FOR project IN DELETE FROM projects_to_mark
                    WHERE project_id IN (SELECT project_id FROM projects_to_mark ORDER BY project_id LIMIT max_projects)
                    RETURNING *
    LOOP
        EXECUTE format(
            'INSERT INTO carried_ids (project_id, text_id) SELECT $1, text_id FROM %I.%I'
            ' WHERE text_id ~ ''%%[0-9A-Fa-f]{2}'' AND (sequence <= $2 OR created_at < $3)'
            ' ON CONFLICT DO NOTHING', current_schema(), 'embeddings_' || project.project_id)
            USING project.project_id, project.last_number, project.taken_over;
        marked := marked + 1;
    END LOOP;
    RETURN marked;
END
$$;

-- As in migration 0007, and marks the ids that have a percent escape.
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
        RETURNING sequence, project_id, text_id
    ), marked AS (
        INSERT INTO carried_ids (project_id, text_id)
        SELECT project_id, text_id FROM moved WHERE text_id ~ '%[0-9A-Fa-f]{2}'
            ON CONFLICT DO NOTHING
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
