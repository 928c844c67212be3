-- The tables are partitions again: attach_partitions, called before (service/schema/migrate.py).

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

CREATE OR REPLACE FUNCTION empty_embeddings_partition(of_project integer) RETURNS void
LANGUAGE plpgsql SET lock_timeout = '5s' AS $$
BEGIN
    PERFORM cancel_index_build(of_project);
    EXECUTE format('TRUNCATE %I.embeddings_%s', current_schema(), of_project);
    DELETE FROM project_indexes WHERE project_id = of_project;
END
$$;

CREATE OR REPLACE FUNCTION drop_embeddings_partition(project_id integer) RETURNS boolean
LANGUAGE plpgsql SET lock_timeout = '5s' AS $$
DECLARE
    partition text := format('%I.embeddings_%s', current_schema(), project_id);
BEGIN
    IF to_regclass(partition) IS NOT NULL THEN
        -- Uploads lock the partition first, then its parent. DROP alone would lock the parent first, which could
        -- cause a deadlock.
        EXECUTE format('LOCK TABLE %s IN ACCESS EXCLUSIVE MODE', partition);
        EXECUTE format('DROP TABLE %s', partition);
    END IF;
    RETURN true;
EXCEPTION WHEN undefined_table THEN -- somebody else has just dropped it
    RETURN true;
END
$$;

CREATE OR REPLACE FUNCTION fit_embeddings_partition(project_id integer, dimensions integer) RETURNS boolean
LANGUAGE plpgsql AS $$
DECLARE
    partition text := format('%I.embeddings_%s', current_schema(), project_id);
    fits boolean;
    filled boolean;
BEGIN
    IF to_regclass(partition) IS NULL THEN
        -- CREATE and ATTACH, because PARTITION OF would lock the table embeddings against reads. With 8160, rows that
        -- fit a page are stored there completely, which doubles the rate of uploads.
        EXECUTE format(
            'CREATE TABLE %s (LIKE embeddings INCLUDING ALL, '
            'CONSTRAINT embeddings_dimensions_check CHECK (vector_dims(vector) = %s)) '
            'WITH (toast_tuple_target = 8160)', partition, dimensions);
        EXECUTE format('ALTER TABLE embeddings ATTACH PARTITION %s FOR VALUES IN (%s)', partition, project_id);
        RETURN true;
    END IF;

    SELECT pg_get_constraintdef(oid) = format('CHECK ((vector_dims(vector) = %s))', dimensions)
      INTO fits
      FROM pg_constraint
     WHERE conrelid = partition::regclass AND conname = 'embeddings_dimensions_check';
    IF fits THEN
        RETURN true;
    END IF;

    EXECUTE format('LOCK TABLE %s IN ACCESS EXCLUSIVE MODE', partition);
    EXECUTE format('SELECT EXISTS (SELECT FROM %s)', partition) INTO filled;
    IF filled THEN
        RAISE EXCEPTION 'project % holds embeddings of another number of dimensions', project_id
            USING ERRCODE = 'check_violation', CONSTRAINT = 'projects_dimensions_fixed';
    END IF;
    EXECUTE format(
        'ALTER TABLE %s DROP CONSTRAINT embeddings_dimensions_check, '
        'ADD CONSTRAINT embeddings_dimensions_check CHECK (vector_dims(vector) = %s)', partition, dimensions);
    RETURN true;
END
$$;

DROP TRIGGER projects_deleted ON projects;
DROP FUNCTION note_deleted_project();
DROP TABLE deleted_projects;
DROP FUNCTION attach_partitions(integer);
DROP FUNCTION detach_partitions(integer, integer, integer);
DROP FUNCTION have_embeddings_counted(integer, bigint);
DROP FUNCTION note_uncounted_embeddings();
DROP FUNCTION count_embeddings(integer);
DROP TABLE embedding_count_deltas;
DROP TABLE embedding_counts;
COMMENT ON TABLE embeddings IS NULL;
