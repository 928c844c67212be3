-- One partition of embeddings for each project (design: storage). Uploads never maintain a vector index,
-- a search never reads another project's rows, and deleting a project is dropping a table.

ALTER TABLE embeddings RENAME TO embeddings_unmigrated;
ALTER TABLE embeddings_unmigrated RENAME CONSTRAINT embeddings_pkey TO embeddings_unmigrated_pkey;
-- Those of a database that was taken over are gone already, whatever their names were.
-- Named with the schema: else a missing object would be found in another installation's.
DO $$
DECLARE
    index text;
BEGIN
    FOREACH index IN ARRAY '{vector_384,vector_768,vector_1024,vector_1536,vector_3072,text_id}'::text[] LOOP
        EXECUTE format('DROP INDEX IF EXISTS %I.embeddings_%s', current_schema(), index);
    END LOOP;
END
$$;

-- Every insert or change of a row takes a new value; an index of a project ends at a watermark of it.
CREATE SEQUENCE embeddings_sequence AS bigint;

-- No foreign key to projects: a partition exists exactly as long as its project does, and checking
-- a key a row would cost more than storing the row.
CREATE TABLE embeddings (
    project_id integer NOT NULL,
    text_id    text COLLATE "C" NOT NULL,
    sequence   bigint NOT NULL DEFAULT nextval('embeddings_sequence'),
    vector     halfvec NOT NULL,
    text       text,
    metadata   jsonb,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    -- text_id first, because statements name the partition, and have no condition on project_id.
    CONSTRAINT embeddings_pkey PRIMARY KEY (text_id, project_id)
) PARTITION BY LIST (project_id);

-- In line and uncompressed as long as the row fits its page: 1.3 instead of 4.8 microseconds a row scanned.
ALTER TABLE embeddings ALTER COLUMN vector SET STORAGE MAIN;

-- Makes the partition of a project, or fits an empty one to a new number of dimensions.
-- A partition that holds embeddings of other dimensions is refused, under the name of a constraint.
-- Always true, so that a statement can call it in a condition.
CREATE FUNCTION fit_embeddings_partition(project_id integer, dimensions integer) RETURNS boolean
LANGUAGE plpgsql AS $$
DECLARE
    partition text := 'embeddings_' || project_id;
    fits boolean;
    filled boolean;
BEGIN
    IF to_regclass(partition) IS NULL THEN
        -- CREATE and ATTACH, because PARTITION OF would lock the table embeddings against reads. With 8160, rows that
        -- fit a page are stored there completely, which doubles the rate of uploads.
        EXECUTE format(
            'CREATE TABLE %I (LIKE embeddings INCLUDING ALL, '
            'CONSTRAINT embeddings_dimensions_check CHECK (vector_dims(vector) = %s)) '
            'WITH (toast_tuple_target = 8160)', partition, dimensions);
        EXECUTE format('ALTER TABLE embeddings ATTACH PARTITION %I FOR VALUES IN (%s)', partition, project_id);
        RETURN true;
    END IF;

    SELECT pg_get_constraintdef(oid) = format('CHECK ((vector_dims(vector) = %s))', dimensions)
      INTO fits
      FROM pg_constraint
     WHERE conrelid = partition::regclass AND conname = 'embeddings_dimensions_check';
    IF fits THEN
        RETURN true;
    END IF;

    EXECUTE format('LOCK TABLE %I IN ACCESS EXCLUSIVE MODE', partition);
    EXECUTE format('SELECT EXISTS (SELECT FROM %I)', partition) INTO filled;
    IF filled THEN
        RAISE EXCEPTION 'project % holds embeddings of another number of dimensions', project_id
            USING ERRCODE = 'check_violation', CONSTRAINT = 'projects_dimensions_fixed';
    END IF;
    EXECUTE format(
        'ALTER TABLE %I DROP CONSTRAINT embeddings_dimensions_check, '
        'ADD CONSTRAINT embeddings_dimensions_check CHECK (vector_dims(vector) = %s)', partition, dimensions);
    RETURN true;
END
$$;

-- Drops the partition of a project, if it is still there. Always true. Waits five seconds at most for those
-- who use it, because others wait behind it meanwhile.
CREATE FUNCTION drop_embeddings_partition(project_id integer) RETURNS boolean
LANGUAGE plpgsql SET lock_timeout = '5s' AS $$
DECLARE
    partition text := 'embeddings_' || project_id;
BEGIN
    IF to_regclass(partition) IS NOT NULL THEN
        -- Uploads lock the partition first, then its parent. DROP alone would lock the parent first, which could
        -- cause a deadlock.
        EXECUTE format('LOCK TABLE %I IN ACCESS EXCLUSIVE MODE', partition);
        EXECUTE format('DROP TABLE %I', partition);
    END IF;
    RETURN true;
EXCEPTION WHEN undefined_table THEN -- somebody else has just dropped it
    RETURN true;
END
$$;

-- The old number of a row becomes its sequence, so that the rollback can give it back.
SELECT setval('embeddings_sequence', last_value, is_called) FROM embeddings_embeddings_id_seq;

-- The rows stay here until migration 0007 moves them into the partitions, a batch a transaction. What has no place
-- there stays for good, and can be fetched; it must not hold back the other tables.
ALTER TABLE embeddings_unmigrated
    DROP CONSTRAINT embeddings_owner_fkey,
    DROP CONSTRAINT embeddings_project_id_fkey,
    DROP CONSTRAINT embeddings_instance_id_fkey;
