-- Several installations may share a database, each in its own schema. What may be missing in ours (a partition, an index)
-- would be found in another one along the search path, which has pgvector's schema too: so it is named with our schema,
-- which is the first of the search path of every session.

-- The partition of a project, or NULL.
CREATE FUNCTION embeddings_partition(project_id integer) RETURNS regclass
LANGUAGE sql STABLE AS $$ SELECT to_regclass(format('%I.embeddings_%s', current_schema(), project_id)) $$;

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

CREATE OR REPLACE FUNCTION make_missing_partitions(max_partitions integer) RETURNS bigint
LANGUAGE sql AS $$
    SELECT count(*)
      FROM (SELECT project.project_id, instance.dimensions
              FROM projects AS project
              JOIN llm_service_instances AS instance
                ON instance.instance_id = project.llm_service_instance_id
             WHERE embeddings_partition(project.project_id) IS NULL
             ORDER BY project.project_id
             LIMIT max_partitions) AS missing
     WHERE fit_embeddings_partition(missing.project_id, missing.dimensions)
$$;

CREATE OR REPLACE FUNCTION carry_embeddings_back(of_project integer, after_text_id text, max_rows integer) RETURNS text
LANGUAGE plpgsql AS $$
DECLARE
    last_text_id text;
BEGIN
    EXECUTE format(
        'WITH moved AS ('
        '    DELETE FROM %1$I.%2$I WHERE text_id IN'
        '        (SELECT text_id FROM %1$I.%2$I WHERE text_id > $2 ORDER BY text_id LIMIT $3) RETURNING *'
        '), stored AS ('
        '    INSERT INTO embeddings_unmigrated'
        '        (embeddings_id, text_id, owner, project_id, instance_id, text, vector, vector_dim, metadata,'
        '         created_at, updated_at)'
        '    SELECT moved.sequence, moved.text_id, project.owner, $1, project.llm_service_instance_id, moved.text,'
        '           moved.vector, vector_dims(moved.vector), moved.metadata, moved.created_at, moved.updated_at'
        '      FROM moved JOIN projects AS project ON project.project_id = $1'
        -- An embedding that could not be migrated is older than one uploaded later with the same key.
        '    ON CONFLICT (text_id, owner, project_id, instance_id) DO UPDATE'
        '       SET embeddings_id = excluded.embeddings_id, text = excluded.text, vector = excluded.vector,'
        '           vector_dim = excluded.vector_dim, metadata = excluded.metadata,'
        '           created_at = excluded.created_at, updated_at = excluded.updated_at'
        '), last AS (SELECT text_id FROM moved ORDER BY text_id DESC LIMIT 1) '
        'SELECT text_id FROM last', current_schema(), 'embeddings_' || of_project)
       INTO last_text_id
      USING of_project, after_text_id, max_rows;
    RETURN last_text_id;
END
$$;

CREATE OR REPLACE FUNCTION cancel_index_build(project_id integer) RETURNS boolean
LANGUAGE sql AS $$
    SELECT count(pg_cancel_backend(pid)) >= 0
      FROM pg_stat_progress_create_index
     WHERE datname = current_database() AND relid = embeddings_partition(project_id)
$$;

CREATE OR REPLACE FUNCTION empty_embeddings_partition(of_project integer) RETURNS void
LANGUAGE plpgsql SET lock_timeout = '5s' AS $$
BEGIN
    PERFORM cancel_index_build(of_project);
    EXECUTE format('TRUNCATE %I.embeddings_%s', current_schema(), of_project);
    DELETE FROM project_indexes WHERE project_id = of_project;
END
$$;
