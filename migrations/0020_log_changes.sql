-- What clients need to send and fetch only what has changed: digests of embeddings, and a log of deletions beside the
-- sequence numbers of the rows.

-- The first 64 bits of SHA-256 of an embedding's id, a zero byte, a letter for the part, and the part: its vector (v) as
-- halfvec_send gives it, its text (t), or its metadata (m) as PostgreSQL writes a jsonb. Null for no text or metadata.
-- Computed while reading: a column filled at upload would need each project's table to itself for a moment, which a backup
-- denies for hours.
CREATE FUNCTION embedding_digest(text_id text, part text, content bytea) RETURNS bit(64)
LANGUAGE sql STABLE PARALLEL SAFE AS $$
    SELECT ('x' || encode(substr(sha256(convert_to(text_id, 'UTF8') || '\x00'::bytea || convert_to(part, 'UTF8') || content),
                                 1, 8), 'hex'))::bit(64)
$$;

-- Embeddings are compared in 4,096 buckets: the first twelve bits of SHA-256 of their ids.
CREATE FUNCTION embedding_bucket(text_id text) RETURNS integer
LANGUAGE sql STABLE PARALLEL SAFE AS $$
    SELECT get_byte(sha256(convert_to(text_id, 'UTF8')), 0) * 16 + get_byte(sha256(convert_to(text_id, 'UTF8')), 1) / 16
$$;

-- No foreign key: checking it would lock the row of the project.
CREATE TABLE embedding_deletions (
    project_id integer NOT NULL,
    sequence   bigint NOT NULL DEFAULT nextval('embeddings_sequence'),
    text_id    text COLLATE "C" NOT NULL,
    deleted_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT embedding_deletions_pkey PRIMARY KEY (project_id, sequence)
);
CREATE INDEX embedding_deletions_deleted_at ON embedding_deletions (deleted_at);

-- The log of a project: `log` is its name, another one whenever it begins anew, so that a sequence of another log is known as
-- such. Deletions with a sequence up to `log_begins` may be missing in it; null: deletions are not noted yet.
ALTER TABLE embedding_counts
    ADD COLUMN log uuid NOT NULL DEFAULT gen_random_uuid(),
    ADD COLUMN log_begins bigint;

-- A trigger, so that deletions by an older version of the service, or by hand, are noted too.
CREATE FUNCTION note_deleted_embeddings() RETURNS trigger
LANGUAGE plpgsql AS $$
BEGIN
    EXECUTE format('INSERT INTO %I.embedding_deletions (project_id, text_id) SELECT project_id, text_id FROM gone',
                   TG_TABLE_SCHEMA);
    RETURN NULL;
END
$$;

CREATE FUNCTION have_deletions_noted(of_project integer, begins bigint) RETURNS void
LANGUAGE plpgsql AS $$
BEGIN
    EXECUTE format(
        'CREATE TRIGGER embeddings_deleted AFTER DELETE ON %I.embeddings_%s REFERENCING OLD TABLE AS gone '
        'FOR EACH STATEMENT EXECUTE FUNCTION note_deleted_embeddings()', current_schema(), of_project);
    UPDATE embedding_counts SET log_begins = begins WHERE project_id = of_project;
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
        -- Not 0, because a client may follow the changes of an earlier project with this name.
        PERFORM have_deletions_noted(project_id, nextval('embeddings_sequence'));
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

-- The log begins anew: its size does not depend on how many embeddings there were.
CREATE OR REPLACE FUNCTION empty_embeddings_partition(of_project integer) RETURNS void
LANGUAGE plpgsql SET lock_timeout = '5s' AS $$
BEGIN
    PERFORM cancel_index_build(of_project);
    EXECUTE format('TRUNCATE %I.embeddings_%s', current_schema(), of_project);
    UPDATE embedding_counts AS counted
       SET embeddings = 0, to_index = false,
           changes = counted.changes + 1 + (SELECT coalesce(sum(delta.changes), 0)
                                              FROM embedding_count_deltas AS delta
                                             WHERE delta.project_id = of_project),
           log = gen_random_uuid(),
           log_begins = CASE WHEN log_begins IS NOT NULL THEN nextval('embeddings_sequence') END
     WHERE project_id = of_project;
    DELETE FROM embedding_deletions WHERE project_id = of_project;
    DELETE FROM embedding_count_deltas WHERE project_id = of_project;
    DELETE FROM project_indexes WHERE project_id = of_project;
END
$$;

-- Has the deletions of the next projects noted, at most max_tables: each is a lock that the transaction holds. A table in
-- which somebody writes for long, or that is being indexed, is left for the next time. It goes by the numbers of projects,
-- from after_project to last_project, which is null when there was none, and ends where max_left_over were left.
CREATE FUNCTION begin_logs(
    after_project integer, max_tables integer, max_left_over integer, OUT last_project integer, OUT left_over integer
)
LANGUAGE plpgsql SET lock_timeout = '1s' AS $$
DECLARE
    number integer;
BEGIN
    left_over := 0;
    FOR number IN
        SELECT counts.project_id FROM embedding_counts AS counts
         WHERE counts.log_begins IS NULL AND counts.project_id > after_project
           AND embeddings_partition(counts.project_id) IS NOT NULL
         ORDER BY counts.project_id
         LIMIT max_tables
    LOOP
        last_project := number;
        BEGIN
            PERFORM have_deletions_noted(number, nextval('embeddings_sequence'));
        EXCEPTION WHEN lock_not_available OR undefined_table THEN
            left_over := left_over + 1;
        END;
        EXIT WHEN left_over >= max_left_over;
    END LOOP;
END
$$;

-- For the rollback: the next tables are without the trigger again.
CREATE FUNCTION end_logs(max_tables integer) RETURNS bigint
LANGUAGE plpgsql AS $$
DECLARE
    number integer;
    ended bigint := 0;
BEGIN
    FOR number IN
        SELECT counts.project_id FROM embedding_counts AS counts
         WHERE counts.log_begins IS NOT NULL
         ORDER BY counts.project_id
         LIMIT max_tables
    LOOP
        EXECUTE format('DROP TRIGGER IF EXISTS embeddings_deleted ON %I.embeddings_%s', current_schema(), number);
        UPDATE embedding_counts SET log_begins = NULL WHERE project_id = number;
        ended := ended + 1;
    END LOOP;
    RETURN ended;
END
$$;
