-- A table for each project instead of a partition, the number of rows without counting them, and the indexer told of
-- changes instead of looking for them: what a project costs does not depend on how many others there are.
--
-- The statements name the tables, embeddings_{project_id}, as they named the partitions, so nothing stops. Tables become
-- independent in batches, after this transaction (service/schema/backfill.py). Functions keep their names: an older
-- version of the service may still run, and call them.

COMMENT ON TABLE embeddings IS
    'Template of the tables embeddings_{project_id}. It holds no rows; its last partitions are detached by migrate.';

-- The number of a project's embeddings is `embeddings` here and in all its deltas together. Null: not known, and has
-- to be counted.
CREATE TABLE embedding_counts (
    project_id integer NOT NULL
        CONSTRAINT embedding_counts_pkey PRIMARY KEY
        CONSTRAINT embedding_counts_project_id_fkey REFERENCES projects ON DELETE CASCADE,
    embeddings bigint,
    -- The number of all inserts, updates and deletions of rows so far.
    changes    bigint NOT NULL DEFAULT 0,
    -- Whether the indexer has not checked the last change yet.
    to_index   boolean NOT NULL
);
CREATE INDEX embedding_counts_to_index ON embedding_counts (project_id) WHERE to_index;

-- What a statement that wrote embeddings has added to the numbers, in its own transaction: statements on one project do not
-- wait for each other, as they would if they changed one row. The indexer adds the deltas up every two seconds.
-- No foreign key: checking it would lock the row of the project.
CREATE TABLE embedding_count_deltas (
    project_id integer NOT NULL,
    embeddings bigint,
    changes    bigint NOT NULL
);
CREATE INDEX embedding_count_deltas_project_id ON embedding_count_deltas (project_id);

CREATE FUNCTION count_embeddings(of_project integer) RETURNS bigint
LANGUAGE plpgsql STABLE AS $$
DECLARE
    counted bigint;
BEGIN
    SELECT counts.embeddings + (SELECT CASE WHEN count(*) = count(delta.embeddings) THEN coalesce(sum(delta.embeddings), 0) END
                                  FROM embedding_count_deltas AS delta
                                 WHERE delta.project_id = of_project)
      INTO counted
      FROM embedding_counts AS counts
     WHERE counts.project_id = of_project;
    IF counted IS NULL AND embeddings_partition(of_project) IS NOT NULL THEN
        EXECUTE format('SELECT count(*) FROM %I.embeddings_%s', current_schema(), of_project) INTO counted;
    END IF;
    RETURN coalesce(counted, 0);
END
$$;

-- For statements that add no delta: of older versions of the service, or written by hand. The service's own sessions set
-- embedding_service.counts.
CREATE FUNCTION note_uncounted_embeddings() RETURNS trigger
LANGUAGE plpgsql AS $$
BEGIN
    EXECUTE format('INSERT INTO %I.embedding_count_deltas (project_id, embeddings, changes) VALUES (%s, NULL, 1)',
                   TG_TABLE_SCHEMA, substring(TG_TABLE_NAME FROM '\d+$'));
    RETURN NULL;
END
$$;

CREATE FUNCTION have_embeddings_counted(of_project integer, rows bigint) RETURNS void
LANGUAGE plpgsql AS $$
BEGIN
    EXECUTE format(
        'CREATE TRIGGER embeddings_uncounted AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON %I.embeddings_%s '
        'FOR EACH STATEMENT WHEN (current_setting(''embedding_service.counts'', true) IS DISTINCT FROM ''on'') '
        'EXECUTE FUNCTION note_uncounted_embeddings()', current_schema(), of_project);
    INSERT INTO embedding_counts (project_id, embeddings, to_index)
    SELECT project_id, rows, rows IS NULL FROM projects WHERE project_id = of_project -- no row for a deleted project
        -- An interrupted rollback leaves a row.
        ON CONFLICT (project_id) DO UPDATE SET embeddings = excluded.embeddings, to_index = excluded.to_index;
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
        -- With 8160, rows that fit a page are stored there completely, which doubles the rate of uploads.
        EXECUTE format(
            'CREATE TABLE %s (LIKE embeddings INCLUDING ALL, '
            'CONSTRAINT embeddings_dimensions_check CHECK (vector_dims(vector) = %s)) '
            'WITH (toast_tuple_target = 8160)', partition, dimensions);
        PERFORM have_embeddings_counted(project_id, 0);
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

-- Deleted projects whose tables are not dropped yet.
CREATE TABLE deleted_projects (
    project_id integer NOT NULL CONSTRAINT deleted_projects_pkey PRIMARY KEY
);

CREATE FUNCTION note_deleted_project() RETURNS trigger
LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO deleted_projects (project_id) SELECT project_id FROM gone ON CONFLICT DO NOTHING;
    RETURN NULL;
END
$$;

CREATE TRIGGER projects_deleted AFTER DELETE ON projects REFERENCING OLD TABLE AS gone
    FOR EACH STATEMENT EXECUTE FUNCTION note_deleted_project();

-- Of deletions that were interrupted before this version.
INSERT INTO deleted_projects (project_id)
SELECT substring(partition.relname FROM 'embeddings_(\d+)')::int
  FROM pg_inherits
  JOIN pg_class AS partition ON partition.oid = inhrelid
 WHERE inhparent = 'embeddings'::regclass
   AND NOT EXISTS (SELECT FROM projects WHERE project_id = substring(partition.relname FROM 'embeddings_(\d+)')::int);

-- Drops the table of a project, if it is still there. Always true. Waits five seconds at most for those who use it,
-- because others wait behind it meanwhile.
CREATE OR REPLACE FUNCTION drop_embeddings_partition(project_id integer) RETURNS boolean
LANGUAGE plpgsql SET lock_timeout = '5s' AS $$
DECLARE
    of_project ALIAS FOR project_id;
    partition text := format('%I.embeddings_%s', current_schema(), project_id);
BEGIN
    IF to_regclass(partition) IS NOT NULL THEN
        -- A table that is still a partition: uploads lock it first, then its parent. DROP alone would lock the parent
        -- first, which could cause a deadlock.
        EXECUTE format('LOCK TABLE %s IN ACCESS EXCLUSIVE MODE', partition);
        EXECUTE format('DROP TABLE %s', partition);
    END IF;
    DELETE FROM deleted_projects AS deleted WHERE deleted.project_id = of_project;
    RETURN true;
EXCEPTION WHEN undefined_table THEN -- somebody else has just dropped it
    RETURN true;
END
$$;

CREATE OR REPLACE FUNCTION empty_embeddings_partition(of_project integer) RETURNS void
LANGUAGE plpgsql SET lock_timeout = '5s' AS $$
BEGIN
    PERFORM cancel_index_build(of_project);
    EXECUTE format('TRUNCATE %I.embeddings_%s', current_schema(), of_project);
    UPDATE embedding_counts SET embeddings = 0, changes = changes + 1, to_index = false WHERE project_id = of_project;
    DELETE FROM embedding_count_deltas WHERE project_id = of_project;
    DELETE FROM project_indexes WHERE project_id = of_project;
END
$$;

-- Makes the next partitions independent tables, at most max_tables: each is a lock that the transaction holds. Of one
-- that is in use, by a backup or the build of an index, the others do not wait for: it stays a partition, which works as
-- well, until the next time. It goes by the numbers of projects, from after_project to last_project, which is null when there
-- was none, and ends where max_left_over stayed partitions.
CREATE FUNCTION detach_partitions(
    after_project integer, max_tables integer, max_left_over integer, OUT last_project integer, OUT left_over integer
)
LANGUAGE plpgsql SET lock_timeout = '1s' AS $$
DECLARE
    number integer;
BEGIN
    left_over := 0;
    FOR number IN
        SELECT substring(partition.relname FROM 'embeddings_(\d+)')::int AS number
          FROM pg_inherits
          JOIN pg_class AS partition ON partition.oid = inhrelid
         WHERE inhparent = 'embeddings'::regclass
           AND substring(partition.relname FROM 'embeddings_(\d+)')::int > after_project
         ORDER BY number
         LIMIT max_tables
    LOOP
        last_project := number;
        BEGIN
            EXECUTE format('LOCK TABLE %I.embeddings_%s IN ACCESS EXCLUSIVE MODE', current_schema(), number);
            EXECUTE format('ALTER TABLE embeddings DETACH PARTITION %I.embeddings_%s', current_schema(), number);
            PERFORM have_embeddings_counted(number, NULL);
        EXCEPTION WHEN lock_not_available OR undefined_table THEN
            left_over := left_over + 1;
        END;
        EXIT WHEN left_over >= max_left_over;
    END LOOP;
END
$$;

-- For the rollback: makes the next tables partitions again.
CREATE FUNCTION attach_partitions(max_tables integer) RETURNS bigint
LANGUAGE plpgsql AS $$
DECLARE
    number integer;
    attached bigint := 0;
BEGIN
    FOR number IN
        SELECT counts.project_id FROM embedding_counts AS counts
         WHERE EXISTS (SELECT FROM pg_trigger WHERE tgrelid = embeddings_partition(counts.project_id)
                          AND tgname = 'embeddings_uncounted')
         ORDER BY counts.project_id
         LIMIT max_tables
    LOOP
        EXECUTE format('DROP TRIGGER embeddings_uncounted ON %I.embeddings_%s', current_schema(), number);
        EXECUTE format('ALTER TABLE embeddings ATTACH PARTITION %I.embeddings_%s FOR VALUES IN (%s)',
                       current_schema(), number, number);
        attached := attached + 1;
    END LOOP;
    RETURN attached;
END
$$;

-- As in migration 0012, but into each project's table.
CREATE OR REPLACE FUNCTION carry_embeddings(max_rows integer, OUT looked_at bigint, OUT carried bigint)
LANGUAGE plpgsql AS $_$
DECLARE
    part record;
    moved bigint;
BEGIN
    looked_at := 0;
    carried := 0;
    PERFORM set_config('embedding_service.counts', 'off', true);
    FOR part IN
        SELECT project_id, array_agg(embeddings_id) AS ids, array_agg(obstacle) AS obstacles,
               array_agg(embeddings_id) FILTER (WHERE obstacle IS NULL) AS without_obstacle
          FROM (SELECT embeddings_id, project_id, obstacle FROM embeddings_to_carry ORDER BY embeddings_id LIMIT max_rows) AS batch
         GROUP BY project_id
         ORDER BY project_id
    LOOP
        looked_at := looked_at + cardinality(part.ids);
        IF part.without_obstacle IS NOT NULL THEN
            EXECUTE format(
                'WITH moved AS ('
                '    INSERT INTO %I.embeddings_%s'
                '        (project_id, text_id, sequence, vector, text, metadata, created_at, updated_at)'
                '    SELECT project_id, text_id, embeddings_id, vector, text, metadata, created_at, updated_at'
                '      FROM embeddings_unmigrated'
                '     WHERE embeddings_id = ANY ($1)'
                '     ORDER BY text_id COLLATE "C"'
                -- Embeddings uploaded to the new schema are newer.
                '        ON CONFLICT (text_id, project_id) DO NOTHING'
                '    RETURNING sequence, project_id, text_id'
                '), marked AS ('
                '    INSERT INTO carried_ids (project_id, text_id)'
                '    SELECT project_id, text_id FROM moved WHERE text_id ~ ''%%[0-9A-Fa-f]{2}'''
                '        ON CONFLICT DO NOTHING'
                '), gone AS ('
                '    DELETE FROM embeddings_unmigrated USING moved'
                '     WHERE embeddings_unmigrated.embeddings_id = moved.sequence'
                ') SELECT count(*) FROM moved', current_schema(), part.project_id)
               INTO moved
              USING part.without_obstacle;
            carried := carried + moved;
        END IF;
        UPDATE embeddings_unmigrated AS old
           SET obstacle = coalesce(one.obstacle, 'another one of the same text_id is carried')
          FROM unnest(part.ids, part.obstacles) AS one (id, obstacle)
         WHERE old.embeddings_id = one.id;
    END LOOP;
END
$_$;
