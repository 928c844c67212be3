-- The tables have no triggers any more: end_logs, called before (service/schema/migrate.py).

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

DROP FUNCTION end_logs(integer);
DROP FUNCTION begin_logs(integer, integer, integer);
DROP FUNCTION have_deletions_noted(integer, bigint);
DROP FUNCTION note_deleted_embeddings();
ALTER TABLE embedding_counts DROP COLUMN log, DROP COLUMN log_begins;
DROP TABLE embedding_deletions;
DROP FUNCTION embedding_bucket(text);
DROP FUNCTION embedding_digest(text, text, bytea);
