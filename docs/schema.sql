-- The schema of a migrated database, as pg_dump writes it: tables, views, functions, constraints, indexes.
-- Written by `make schema`, compared by tests/schema/test_schema.py. The steps that lead here are in migrations/.
-- Each project also has a partition of its own, embeddings_{project_id}: see fit_embeddings_partition.


CREATE EXTENSION IF NOT EXISTS vector WITH SCHEMA public;

COMMENT ON EXTENSION vector IS 'vector data type and ivfflat and hnsw access methods';

CREATE FUNCTION public.access_to_project(with_key_hash text, with_admin_key boolean, of_owner text, of_handle text) RETURNS TABLE(caller text, project_id integer, owner text, project_handle text, role text, instance_owner text, instance_handle text, dimensions integer, metadata_scheme text, watermark bigint, ef_searches integer[], recalls double precision[])
    LANGUAGE sql STABLE
    AS $$
    SELECT caller.user_handle::text, project.project_id, project.owner::text, project.project_handle::text,
           CASE WHEN with_admin_key THEN 'admin'
                -- An unknown key gives no role, not even that of the public.
                WHEN with_key_hash IS NOT NULL AND caller.user_handle IS NULL THEN NULL
                ELSE coalesce((SELECT access.role FROM project_access AS access
                                WHERE access.project_id = project.project_id
                                  AND access.user_handle = caller.user_handle),
                              CASE WHEN project.public_read THEN 'public' END) END,
           instance.owner::text, instance.instance_handle::text, instance.dimensions, project.metadata_scheme,
           built.watermark, built.ef_searches, built.recalls
      FROM (VALUES (1)) AS always
      LEFT JOIN users AS caller ON caller.vdb_key = with_key_hash
      LEFT JOIN projects AS project ON project.owner = of_owner AND project.project_handle = of_handle
      LEFT JOIN llm_service_instances AS instance ON instance.instance_id = project.llm_service_instance_id
      LEFT JOIN project_indexes AS built ON built.project_id = project.project_id
$$;

CREATE FUNCTION public.attach_partitions(max_tables integer) RETURNS bigint
    LANGUAGE plpgsql
    AS $$
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

CREATE FUNCTION public.begin_logs(after_project integer, max_tables integer, max_left_over integer, OUT last_project integer, OUT left_over integer) RETURNS record
    LANGUAGE plpgsql
    SET lock_timeout TO '1s'
    AS $$
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

CREATE FUNCTION public.cancel_index_build(project_id integer) RETURNS boolean
    LANGUAGE sql
    AS $$
    SELECT count(pg_cancel_backend(pid)) >= 0
      FROM pg_stat_progress_create_index
     WHERE datname = current_database() AND relid = embeddings_partition(project_id)
$$;

CREATE FUNCTION public.carry_embeddings(max_rows integer, OUT looked_at bigint, OUT carried bigint) RETURNS record
    LANGUAGE plpgsql
    AS $_$
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

CREATE FUNCTION public.carry_embeddings_back(of_project integer, after_text_id text, max_rows integer) RETURNS text
    LANGUAGE plpgsql
    AS $_$
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
$_$;

CREATE FUNCTION public.count_embeddings(of_project integer) RETURNS bigint
    LANGUAGE plpgsql STABLE
    AS $$
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

CREATE FUNCTION public.detach_partitions(after_project integer, max_tables integer, max_left_over integer, OUT last_project integer, OUT left_over integer) RETURNS record
    LANGUAGE plpgsql
    SET lock_timeout TO '1s'
    AS $$
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

CREATE FUNCTION public.drop_embeddings_partition(project_id integer) RETURNS boolean
    LANGUAGE plpgsql
    SET lock_timeout TO '5s'
    AS $$
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

CREATE FUNCTION public.embedding_bucket(text_id text) RETURNS integer
    LANGUAGE sql STABLE PARALLEL SAFE
    AS $$
    SELECT get_byte(sha256(convert_to(text_id, 'UTF8')), 0) * 16 + get_byte(sha256(convert_to(text_id, 'UTF8')), 1) / 16
$$;

CREATE FUNCTION public.embedding_digest(text_id text, part text, content bytea) RETURNS bit
    LANGUAGE sql STABLE PARALLEL SAFE
    AS $$
    SELECT ('x' || encode(substr(sha256(convert_to(text_id, 'UTF8') || '\x00'::bytea || convert_to(part, 'UTF8') || content),
                                 1, 8), 'hex'))::bit(64)
$$;

CREATE FUNCTION public.embedding_order(text_id text) RETURNS bigint
    LANGUAGE sql STABLE PARALLEL SAFE
    AS $$
    SELECT hashtextextended(text_id COLLATE "C", 0) & 9223372036854775807
$$;

CREATE FUNCTION public.embeddings_partition(project_id integer) RETURNS regclass
    LANGUAGE sql STABLE
    AS $$ SELECT to_regclass(format('%I.embeddings_%s', current_schema(), project_id)) $$;

CREATE FUNCTION public.empty_embeddings_partition(of_project integer) RETURNS void
    LANGUAGE plpgsql
    SET lock_timeout TO '5s'
    AS $$
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
    DELETE FROM project_maps WHERE project_id = of_project;
END
$$;

CREATE FUNCTION public.end_logs(max_tables integer) RETURNS bigint
    LANGUAGE plpgsql
    AS $$
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

CREATE FUNCTION public.fit_embeddings_partition(project_id integer, dimensions integer) RETURNS boolean
    LANGUAGE plpgsql
    AS $$
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

CREATE FUNCTION public.have_deletions_noted(of_project integer, begins bigint) RETURNS void
    LANGUAGE plpgsql
    AS $$
BEGIN
    EXECUTE format(
        'CREATE TRIGGER embeddings_deleted AFTER DELETE ON %I.embeddings_%s REFERENCING OLD TABLE AS gone '
        'FOR EACH STATEMENT EXECUTE FUNCTION note_deleted_embeddings()', current_schema(), of_project);
    UPDATE embedding_counts SET log_begins = begins WHERE project_id = of_project;
END
$$;

CREATE FUNCTION public.have_embeddings_counted(of_project integer, rows bigint) RETURNS void
    LANGUAGE plpgsql
    AS $$
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

CREATE FUNCTION public.make_missing_partitions(max_partitions integer) RETURNS bigint
    LANGUAGE sql
    AS $$
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

CREATE FUNCTION public.mark_carried_ids(max_projects integer) RETURNS bigint
    LANGUAGE plpgsql
    AS $_$
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
$_$;

CREATE FUNCTION public.metadata_terms(metadata jsonb) RETURNS text[]
    LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
    AS $_$
    WITH RECURSIVE field (path, value, steps) AS (
        SELECT key, value, 1
          FROM jsonb_each(CASE jsonb_typeof(metadata) WHEN 'object' THEN metadata ELSE '{}' END)
         UNION ALL
        SELECT field.path || '.' || inner_field.key, inner_field.value, steps + 1
          FROM field
         CROSS JOIN jsonb_each(CASE jsonb_typeof(field.value) WHEN 'object' THEN field.value ELSE '{}' END)
            AS inner_field
         WHERE steps < 5
    )
    SELECT CASE jsonb_typeof(metadata) WHEN 'object' THEN coalesce(array_agg(path || e'\x01' || term), '{}')
                                       ELSE ARRAY[e'\x01'] END
      FROM field
     CROSS JOIN jsonb_typeof(value) AS kind
     CROSS JOIN left(value #>> '{}', 10) AS start
      -- Beyond these limits float8 has no number.
     CROSS JOIN LATERAL (
           SELECT encode(float8send(CASE WHEN kind <> 'number' THEN 0
                                         WHEN abs(value::numeric) < 1e-300 THEN 0
                                         ELSE least(greatest(value::numeric, -1e300), 1e300)::float8 END), 'hex')
           ) AS number (digits)
     CROSS JOIN LATERAL (
           SELECT CASE WHEN left(digits, 1) < '8' THEN translate(left(digits, 1), '01234567', '89abcdef') || substr(digits, 2, 5)
                       ELSE translate(left(digits, 6), '0123456789abcdef', 'fedcba9876543210') END
           ) AS ordered (code)
     CROSS JOIN unnest(CASE kind
           WHEN 'array' THEN ARRAY['', 'a']
           WHEN 'number' THEN ARRAY['', 'n' || left(code, 2), 'n' || left(code, 4), 'n' || code]
           WHEN 'string' THEN
               CASE WHEN start ~ '^[0-9]{4}-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])$'
                    THEN ARRAY['', 'd' || left(start, 2), 'd' || left(start, 4), 'd' || left(start, 7), 'd' || start]
                    WHEN start ~ '^[0-9]{4}-(0[1-9]|1[0-2])'
                    THEN ARRAY['', 'm' || left(start, 2), 'm' || left(start, 4), 'm' || left(start, 7)]
                    WHEN start ~ '^[0-9]{4}' THEN ARRAY['', 'y' || left(start, 2), 'y' || left(start, 4)]
                    ELSE ARRAY['', 's'] END
           ELSE ARRAY['']
           END) AS term
     WHERE length(path) <= 100
$_$;

CREATE FUNCTION public.note_deleted_embeddings() RETURNS trigger
    LANGUAGE plpgsql
    AS $$
BEGIN
    EXECUTE format('INSERT INTO %I.embedding_deletions (project_id, text_id) SELECT project_id, text_id FROM gone',
                   TG_TABLE_SCHEMA);
    RETURN NULL;
END
$$;

CREATE FUNCTION public.note_deleted_project() RETURNS trigger
    LANGUAGE plpgsql
    AS $$
BEGIN
    INSERT INTO deleted_projects (project_id) SELECT project_id FROM gone ON CONFLICT DO NOTHING;
    RETURN NULL;
END
$$;

CREATE FUNCTION public.note_uncounted_embeddings() RETURNS trigger
    LANGUAGE plpgsql
    AS $_$
BEGIN
    EXECUTE format('INSERT INTO %I.embedding_count_deltas (project_id, embeddings, changes) VALUES (%s, NULL, 1)',
                   TG_TABLE_SCHEMA, substring(TG_TABLE_NAME FROM '\d+$'));
    RETURN NULL;
END
$_$;

CREATE TABLE public.api_standards (
    api_standard_handle character varying(64) NOT NULL,
    description text,
    key_method character varying(20) NOT NULL,
    key_field text,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    updated_at timestamp with time zone DEFAULT now() NOT NULL,
    dialect text,
    CONSTRAINT api_standards_dialect_check CHECK ((dialect = ANY (ARRAY['local'::text, 'openai'::text, 'cohere'::text, 'gemini'::text, 'voyage'::text, 'jina'::text, 'mistral'::text, 'ollama'::text, 'tei'::text])))
);

CREATE TABLE public.carried_ids (
    project_id integer NOT NULL,
    text_id text NOT NULL COLLATE pg_catalog."C"
);

CREATE TABLE public.llm_service_definitions (
    definition_id integer NOT NULL,
    definition_handle character varying(64) NOT NULL,
    owner character varying(64) NOT NULL,
    endpoint text,
    description text,
    api_standard character varying(64) NOT NULL,
    model text,
    dimensions integer,
    context_limit integer,
    is_public boolean DEFAULT false NOT NULL,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    updated_at timestamp with time zone DEFAULT now() NOT NULL,
    CONSTRAINT llm_service_definitions_context_limit_check CHECK ((context_limit >= 1)),
    CONSTRAINT llm_service_definitions_dimensions_check CHECK (((dimensions >= 1) AND (dimensions <= 16000)))
);

CREATE TABLE public.llm_service_definitions_shared_with (
    user_handle character varying(64) NOT NULL,
    definition_id integer NOT NULL,
    created_at timestamp with time zone DEFAULT now() NOT NULL
);

CREATE TABLE public.users (
    user_handle character varying(64) NOT NULL,
    name text,
    email text NOT NULL,
    vdb_key character(64) NOT NULL,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    updated_at timestamp with time zone DEFAULT now() NOT NULL
);

CREATE VIEW public.definition_access AS
 SELECT llm_service_definitions.definition_id,
    llm_service_definitions.owner AS user_handle,
    'owner'::text AS role
   FROM public.llm_service_definitions
UNION ALL
 SELECT llm_service_definitions_shared_with.definition_id,
    llm_service_definitions_shared_with.user_handle,
    'reader'::text AS role
   FROM public.llm_service_definitions_shared_with
UNION ALL
 SELECT definition.definition_id,
    users.user_handle,
    'public'::text AS role
   FROM (public.llm_service_definitions definition
     CROSS JOIN public.users)
  WHERE definition.is_public;

CREATE TABLE public.deleted_projects (
    project_id integer NOT NULL
);

CREATE TABLE public.embedding_count_deltas (
    project_id integer NOT NULL,
    embeddings bigint,
    changes bigint NOT NULL
);

CREATE TABLE public.embedding_counts (
    project_id integer NOT NULL,
    embeddings bigint,
    changes bigint DEFAULT 0 NOT NULL,
    to_index boolean NOT NULL,
    log uuid DEFAULT gen_random_uuid() NOT NULL,
    log_begins bigint
);

CREATE SEQUENCE public.embeddings_sequence
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;

CREATE TABLE public.embedding_deletions (
    project_id integer NOT NULL,
    sequence bigint DEFAULT nextval('public.embeddings_sequence'::regclass) NOT NULL,
    text_id text NOT NULL COLLATE pg_catalog."C",
    deleted_at timestamp with time zone DEFAULT now() NOT NULL
);

CREATE TABLE public.embeddings (
    project_id integer CONSTRAINT embeddings_project_id_not_null1 NOT NULL,
    text_id text NOT NULL COLLATE pg_catalog."C",
    sequence bigint DEFAULT nextval('public.embeddings_sequence'::regclass) NOT NULL,
    vector public.halfvec CONSTRAINT embeddings_vector_not_null1 NOT NULL,
    text text,
    metadata jsonb,
    created_at timestamp with time zone DEFAULT now() CONSTRAINT embeddings_created_at_not_null1 NOT NULL,
    updated_at timestamp with time zone DEFAULT now() CONSTRAINT embeddings_updated_at_not_null1 NOT NULL
)
PARTITION BY LIST (project_id);
ALTER TABLE ONLY public.embeddings ALTER COLUMN vector SET STORAGE MAIN;

COMMENT ON TABLE public.embeddings IS 'Template of the tables embeddings_{project_id}. It holds no rows; its last partitions are detached by migrate.';

CREATE TABLE public.embeddings_unmigrated (
    embeddings_id integer CONSTRAINT embeddings_embeddings_id_not_null NOT NULL,
    text_id text,
    owner character varying(64) CONSTRAINT embeddings_owner_not_null NOT NULL,
    project_id integer CONSTRAINT embeddings_project_id_not_null NOT NULL,
    instance_id integer CONSTRAINT embeddings_llm_service_id_not_null NOT NULL,
    text text,
    vector public.halfvec CONSTRAINT embeddings_vector_not_null NOT NULL,
    vector_dim integer CONSTRAINT embeddings_vector_dim_not_null NOT NULL,
    metadata jsonb,
    created_at timestamp with time zone DEFAULT now() CONSTRAINT embeddings_created_at_not_null NOT NULL,
    updated_at timestamp with time zone DEFAULT now() CONSTRAINT embeddings_updated_at_not_null NOT NULL,
    obstacle text
);

CREATE SEQUENCE public.embeddings_embeddings_id_seq
    AS integer
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;

ALTER SEQUENCE public.embeddings_embeddings_id_seq OWNED BY public.embeddings_unmigrated.embeddings_id;

CREATE TABLE public.llm_service_instances (
    instance_id integer CONSTRAINT llm_services_llm_service_id_not_null NOT NULL,
    instance_handle character varying(64) CONSTRAINT llm_services_llm_service_handle_not_null NOT NULL,
    owner character varying(64) CONSTRAINT llm_services_owner_not_null NOT NULL,
    endpoint text,
    description text,
    api_standard character varying(64) CONSTRAINT llm_services_api_standard_not_null NOT NULL,
    model text,
    dimensions integer CONSTRAINT llm_services_dimensions_not_null NOT NULL,
    created_at timestamp with time zone DEFAULT now() CONSTRAINT llm_services_created_at_not_null NOT NULL,
    updated_at timestamp with time zone DEFAULT now() CONSTRAINT llm_services_updated_at_not_null NOT NULL,
    context_limit integer,
    definition_id integer,
    api_key_encrypted bytea,
    api_key_sealed_by text,
    api_key text,
    tokens_per_day bigint,
    tokens_per_month bigint,
    requests_per_minute integer,
    expires_at timestamp with time zone,
    CONSTRAINT llm_service_instances_api_key_sealed_by_check CHECK (((api_key_sealed_by IS NULL) OR (api_key_encrypted IS NOT NULL))),
    CONSTRAINT llm_service_instances_context_limit_check CHECK ((context_limit >= 1)),
    CONSTRAINT llm_service_instances_dimensions_check CHECK (((dimensions >= 1) AND (dimensions <= 16000))),
    CONSTRAINT llm_service_instances_requests_per_minute_check CHECK ((requests_per_minute >= 0)),
    CONSTRAINT llm_service_instances_tokens_per_day_check CHECK ((tokens_per_day >= 0)),
    CONSTRAINT llm_service_instances_tokens_per_month_check CHECK ((tokens_per_month >= 0))
);

CREATE TABLE public.projects (
    project_id integer NOT NULL,
    project_handle character varying(64) NOT NULL,
    owner character varying(64) NOT NULL,
    description text,
    metadata_scheme text,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    updated_at timestamp with time zone DEFAULT now() NOT NULL,
    public_read boolean DEFAULT false NOT NULL,
    llm_service_instance_id integer,
    text_search text DEFAULT 'editors'::text NOT NULL,
    CONSTRAINT projects_text_search_check CHECK ((text_search = ANY (ARRAY['editors'::text, 'readers'::text, 'public'::text])))
);

CREATE VIEW public.embeddings_to_carry AS
 SELECT old.embeddings_id,
    old.project_id,
        CASE
            WHEN (old.text_id IS NULL) THEN 'no text_id'::text
            WHEN (octet_length(old.text_id) > 2600) THEN 'text_id too long'::text
            WHEN (project.llm_service_instance_id IS NULL) THEN 'its project has no instance'::text
            WHEN (project.llm_service_instance_id <> old.instance_id) THEN 'of another instance than its project'::text
            WHEN (public.vector_dims(old.vector) <> instance.dimensions) THEN 'of other dimensions than its project'::text
            WHEN (public.l2_norm(old.vector) = (0)::double precision) THEN 'a zero vector'::text
            WHEN (EXISTS ( SELECT
               FROM public.embeddings_unmigrated other
              WHERE ((other.text_id = old.text_id) AND (other.project_id = old.project_id) AND (other.instance_id = old.instance_id) AND (other.embeddings_id <> old.embeddings_id) AND (public.vector_dims(other.vector) = instance.dimensions) AND (public.l2_norm(other.vector) > (0)::double precision) AND (ROW(((other.owner)::text = (project.owner)::text), other.updated_at, other.embeddings_id) > ROW(((old.owner)::text = (project.owner)::text), old.updated_at, old.embeddings_id))))) THEN 'another one of the same text_id is carried'::text
            ELSE NULL::text
        END AS obstacle
   FROM ((public.embeddings_unmigrated old
     JOIN public.projects project USING (project_id))
     LEFT JOIN public.llm_service_instances instance ON ((instance.instance_id = project.llm_service_instance_id)))
  WHERE (old.obstacle IS NULL);

CREATE TABLE public.encryption_sentinel (
    only_row boolean DEFAULT true NOT NULL,
    key_id text NOT NULL,
    sealed bytea NOT NULL,
    CONSTRAINT encryption_sentinel_only_row_check CHECK (only_row)
);

CREATE TABLE public.indexer_state (
    only_row boolean DEFAULT true NOT NULL,
    last_round timestamp with time zone NOT NULL,
    CONSTRAINT indexer_state_only_row_check CHECK (only_row)
);

CREATE TABLE public.llm_service_instances_shared_with (
    user_handle character varying(64) NOT NULL,
    instance_id integer NOT NULL,
    role character varying(20) NOT NULL,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    updated_at timestamp with time zone DEFAULT now() NOT NULL,
    tokens_per_day bigint,
    tokens_per_month bigint,
    requests_per_minute integer,
    expires_at timestamp with time zone,
    CONSTRAINT llm_service_instances_shared_with_requests_per_minute_check CHECK ((requests_per_minute >= 0)),
    CONSTRAINT llm_service_instances_shared_with_role_check CHECK (((role)::text = ANY ((ARRAY['editor'::character varying, 'reader'::character varying])::text[]))),
    CONSTRAINT llm_service_instances_shared_with_tokens_per_day_check CHECK ((tokens_per_day >= 0)),
    CONSTRAINT llm_service_instances_shared_with_tokens_per_month_check CHECK ((tokens_per_month >= 0))
);

CREATE VIEW public.instance_access AS
 SELECT llm_service_instances.instance_id,
    llm_service_instances.owner AS user_handle,
    'owner'::text AS role
   FROM public.llm_service_instances
UNION ALL
 SELECT llm_service_instances_shared_with.instance_id,
    llm_service_instances_shared_with.user_handle,
    (llm_service_instances_shared_with.role)::text AS role
   FROM public.llm_service_instances_shared_with
  WHERE ((llm_service_instances_shared_with.expires_at IS NULL) OR (llm_service_instances_shared_with.expires_at > now()));

CREATE TABLE public.instance_usage (
    instance_id integer NOT NULL,
    day date NOT NULL,
    holder character varying(64) NOT NULL,
    caller character varying(64) NOT NULL,
    requests bigint NOT NULL,
    texts bigint NOT NULL,
    tokens bigint NOT NULL,
    estimated_tokens bigint NOT NULL,
    failures bigint NOT NULL
);

COMMENT ON COLUMN public.instance_usage.estimated_tokens IS 'Those of the tokens that the provider did not count.';

CREATE TABLE public.key_methods (
    key_method character varying(20) NOT NULL
);

CREATE SEQUENCE public.llm_service_definitions_definition_id_seq
    AS integer
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;

ALTER SEQUENCE public.llm_service_definitions_definition_id_seq OWNED BY public.llm_service_definitions.definition_id;

CREATE SEQUENCE public.llm_service_instances_instance_id_seq
    AS integer
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;

ALTER SEQUENCE public.llm_service_instances_instance_id_seq OWNED BY public.llm_service_instances.instance_id;

CREATE TABLE public.users_projects (
    user_handle character varying(64) NOT NULL,
    project_id integer NOT NULL,
    role character varying(20) NOT NULL,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    updated_at timestamp with time zone DEFAULT now() NOT NULL,
    CONSTRAINT users_projects_role_check CHECK (((role)::text = ANY ((ARRAY['editor'::character varying, 'reader'::character varying])::text[])))
);

CREATE VIEW public.project_access AS
 SELECT projects.project_id,
    projects.owner AS user_handle,
    'owner'::text AS role
   FROM public.projects
UNION ALL
 SELECT users_projects.project_id,
    users_projects.user_handle,
    (users_projects.role)::text AS role
   FROM public.users_projects;

CREATE TABLE public.project_indexes (
    project_id integer NOT NULL,
    watermark bigint NOT NULL,
    indexed_rows bigint NOT NULL,
    ef_searches integer[] NOT NULL,
    recalls double precision[] NOT NULL,
    built_at timestamp with time zone DEFAULT now() NOT NULL,
    exact_seconds double precision,
    queries integer DEFAULT 0 NOT NULL,
    recall_error double precision DEFAULT 0 NOT NULL,
    m integer DEFAULT 16 NOT NULL,
    metadata_indexed boolean DEFAULT false NOT NULL,
    lists integer DEFAULT 0 NOT NULL,
    probes integer[] DEFAULT '{}'::integer[] NOT NULL,
    probe_recalls double precision[] DEFAULT '{}'::double precision[] NOT NULL,
    measured_with text DEFAULT 'synthetic'::text NOT NULL,
    measured_at timestamp with time zone DEFAULT now() NOT NULL,
    terms_watermark bigint
);

CREATE TABLE public.project_map_parts (
    project_id integer NOT NULL,
    part integer NOT NULL,
    text_ids text[] NOT NULL,
    sequences bytea NOT NULL,
    pca bytea NOT NULL,
    neighbours bytea
);

CREATE TABLE public.project_maps (
    project_id integer NOT NULL,
    asked_at timestamp with time zone,
    stage text,
    progress double precision,
    failed_at timestamp with time zone,
    error text,
    made_at timestamp with time zone,
    changes bigint,
    base_changes bigint,
    base_rows bigint,
    basis bytea,
    has_neighbours boolean DEFAULT false NOT NULL,
    explained double precision[] DEFAULT '{}'::double precision[] NOT NULL,
    trust_sample integer,
    trust_of_pca double precision,
    trust_of_neighbours double precision
);

CREATE SEQUENCE public.projects_project_id_seq
    AS integer
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;

ALTER SEQUENCE public.projects_project_id_seq OWNED BY public.projects.project_id;

CREATE TABLE public.projects_to_mark (
    project_id integer NOT NULL,
    last_number bigint NOT NULL,
    taken_over timestamp with time zone NOT NULL
);

CREATE TABLE public.usage_reservations (
    reservation_id bigint NOT NULL,
    instance_id integer NOT NULL,
    holder character varying(64) NOT NULL,
    tokens bigint NOT NULL,
    made_at timestamp with time zone NOT NULL,
    expires_at timestamp with time zone NOT NULL
);

ALTER TABLE public.usage_reservations ALTER COLUMN reservation_id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME public.usage_reservations_reservation_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);

CREATE SEQUENCE public.users_projects_project_id_seq
    AS integer
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;

ALTER SEQUENCE public.users_projects_project_id_seq OWNED BY public.users_projects.project_id;

CREATE TABLE public.vdb_roles (
    vdb_role character varying(20) NOT NULL
);

ALTER TABLE ONLY public.embeddings_unmigrated ALTER COLUMN embeddings_id SET DEFAULT nextval('public.embeddings_embeddings_id_seq'::regclass);

ALTER TABLE ONLY public.llm_service_definitions ALTER COLUMN definition_id SET DEFAULT nextval('public.llm_service_definitions_definition_id_seq'::regclass);

ALTER TABLE ONLY public.llm_service_instances ALTER COLUMN instance_id SET DEFAULT nextval('public.llm_service_instances_instance_id_seq'::regclass);

ALTER TABLE ONLY public.projects ALTER COLUMN project_id SET DEFAULT nextval('public.projects_project_id_seq'::regclass);

ALTER TABLE ONLY public.api_standards
    ADD CONSTRAINT api_standards_pkey PRIMARY KEY (api_standard_handle);

ALTER TABLE ONLY public.carried_ids
    ADD CONSTRAINT carried_ids_pkey PRIMARY KEY (project_id, text_id);

ALTER TABLE ONLY public.deleted_projects
    ADD CONSTRAINT deleted_projects_pkey PRIMARY KEY (project_id);

ALTER TABLE ONLY public.embedding_counts
    ADD CONSTRAINT embedding_counts_pkey PRIMARY KEY (project_id);

ALTER TABLE ONLY public.embedding_deletions
    ADD CONSTRAINT embedding_deletions_pkey PRIMARY KEY (project_id, sequence);

ALTER TABLE ONLY public.embeddings
    ADD CONSTRAINT embeddings_pkey PRIMARY KEY (text_id, project_id);

ALTER TABLE ONLY public.embeddings_unmigrated
    ADD CONSTRAINT embeddings_text_id_owner_project_id_instance_id_key UNIQUE (text_id, owner, project_id, instance_id);

ALTER TABLE ONLY public.embeddings_unmigrated
    ADD CONSTRAINT embeddings_unmigrated_pkey PRIMARY KEY (embeddings_id);

ALTER TABLE ONLY public.encryption_sentinel
    ADD CONSTRAINT encryption_sentinel_pkey PRIMARY KEY (only_row);

ALTER TABLE ONLY public.indexer_state
    ADD CONSTRAINT indexer_state_pkey PRIMARY KEY (only_row);

ALTER TABLE ONLY public.instance_usage
    ADD CONSTRAINT instance_usage_pkey PRIMARY KEY (instance_id, day, holder, caller);

ALTER TABLE ONLY public.key_methods
    ADD CONSTRAINT key_methods_pkey PRIMARY KEY (key_method);

ALTER TABLE ONLY public.llm_service_definitions
    ADD CONSTRAINT llm_service_definitions_owner_definition_handle_key UNIQUE (owner, definition_handle);

ALTER TABLE ONLY public.llm_service_definitions
    ADD CONSTRAINT llm_service_definitions_pkey PRIMARY KEY (definition_id);

ALTER TABLE ONLY public.llm_service_definitions_shared_with
    ADD CONSTRAINT llm_service_definitions_shared_with_pkey PRIMARY KEY (user_handle, definition_id);

ALTER TABLE ONLY public.llm_service_instances
    ADD CONSTRAINT llm_service_instances_owner_instance_handle_key UNIQUE (owner, instance_handle);

ALTER TABLE ONLY public.llm_service_instances
    ADD CONSTRAINT llm_service_instances_pkey PRIMARY KEY (instance_id);

ALTER TABLE ONLY public.llm_service_instances_shared_with
    ADD CONSTRAINT llm_service_instances_shared_with_pkey PRIMARY KEY (user_handle, instance_id);

ALTER TABLE ONLY public.project_indexes
    ADD CONSTRAINT project_indexes_pkey PRIMARY KEY (project_id);

ALTER TABLE ONLY public.project_map_parts
    ADD CONSTRAINT project_map_parts_pkey PRIMARY KEY (project_id, part);

ALTER TABLE ONLY public.project_maps
    ADD CONSTRAINT project_maps_pkey PRIMARY KEY (project_id);

ALTER TABLE ONLY public.projects
    ADD CONSTRAINT projects_owner_project_handle_key UNIQUE (owner, project_handle);

ALTER TABLE ONLY public.projects
    ADD CONSTRAINT projects_pkey PRIMARY KEY (project_id);

ALTER TABLE ONLY public.projects_to_mark
    ADD CONSTRAINT projects_to_mark_pkey PRIMARY KEY (project_id);

ALTER TABLE ONLY public.usage_reservations
    ADD CONSTRAINT usage_reservations_pkey PRIMARY KEY (reservation_id);

ALTER TABLE ONLY public.users
    ADD CONSTRAINT users_email_key UNIQUE (email);

ALTER TABLE ONLY public.users
    ADD CONSTRAINT users_pkey PRIMARY KEY (user_handle);

ALTER TABLE ONLY public.users_projects
    ADD CONSTRAINT users_projects_pkey PRIMARY KEY (user_handle, project_id);

ALTER TABLE ONLY public.users
    ADD CONSTRAINT users_vdb_key_key UNIQUE (vdb_key);

ALTER TABLE ONLY public.vdb_roles
    ADD CONSTRAINT vdb_roles_pkey PRIMARY KEY (vdb_role);

CREATE INDEX embedding_count_deltas_project_id ON public.embedding_count_deltas USING btree (project_id);

CREATE INDEX embedding_counts_to_index ON public.embedding_counts USING btree (project_id) WHERE to_index;

CREATE INDEX embedding_deletions_deleted_at ON public.embedding_deletions USING btree (deleted_at);

CREATE INDEX embeddings_unmigrated_project_id ON public.embeddings_unmigrated USING btree (project_id);

CREATE INDEX embeddings_unmigrated_waiting ON public.embeddings_unmigrated USING btree (embeddings_id) WHERE (obstacle IS NULL);

CREATE INDEX llm_service_definitions_shared_with_definition_id ON public.llm_service_definitions_shared_with USING btree (definition_id);

CREATE INDEX llm_service_instances_definition_id ON public.llm_service_instances USING btree (definition_id);

CREATE INDEX llm_service_instances_shared_with_instance_id ON public.llm_service_instances_shared_with USING btree (instance_id);

CREATE INDEX project_maps_asked_at ON public.project_maps USING btree (asked_at) WHERE (asked_at IS NOT NULL);

CREATE INDEX projects_llm_service_instance_id ON public.projects USING btree (llm_service_instance_id);

CREATE INDEX usage_reservations_instance_id ON public.usage_reservations USING btree (instance_id);

CREATE INDEX users_projects_project_id ON public.users_projects USING btree (project_id);

CREATE TRIGGER projects_deleted AFTER DELETE ON public.projects REFERENCING OLD TABLE AS gone FOR EACH STATEMENT EXECUTE FUNCTION public.note_deleted_project();

ALTER TABLE ONLY public.api_standards
    ADD CONSTRAINT api_standards_key_method_fkey FOREIGN KEY (key_method) REFERENCES public.key_methods(key_method);

ALTER TABLE ONLY public.carried_ids
    ADD CONSTRAINT carried_ids_project_id_fkey FOREIGN KEY (project_id) REFERENCES public.projects(project_id) ON DELETE CASCADE;

ALTER TABLE ONLY public.embedding_counts
    ADD CONSTRAINT embedding_counts_project_id_fkey FOREIGN KEY (project_id) REFERENCES public.projects(project_id) ON DELETE CASCADE;

ALTER TABLE ONLY public.embeddings_unmigrated
    ADD CONSTRAINT embeddings_unmigrated_project_id_fkey FOREIGN KEY (project_id) REFERENCES public.projects(project_id) ON DELETE CASCADE;

ALTER TABLE ONLY public.instance_usage
    ADD CONSTRAINT instance_usage_instance_id_fkey FOREIGN KEY (instance_id) REFERENCES public.llm_service_instances(instance_id) ON DELETE CASCADE;

ALTER TABLE ONLY public.llm_service_definitions
    ADD CONSTRAINT llm_service_definitions_api_standard_fkey FOREIGN KEY (api_standard) REFERENCES public.api_standards(api_standard_handle);

ALTER TABLE ONLY public.llm_service_definitions
    ADD CONSTRAINT llm_service_definitions_owner_fkey FOREIGN KEY (owner) REFERENCES public.users(user_handle) ON DELETE CASCADE;

ALTER TABLE ONLY public.llm_service_definitions_shared_with
    ADD CONSTRAINT llm_service_definitions_shared_with_definition_id_fkey FOREIGN KEY (definition_id) REFERENCES public.llm_service_definitions(definition_id) ON DELETE CASCADE;

ALTER TABLE ONLY public.llm_service_definitions_shared_with
    ADD CONSTRAINT llm_service_definitions_shared_with_user_handle_fkey FOREIGN KEY (user_handle) REFERENCES public.users(user_handle) ON DELETE CASCADE;

ALTER TABLE ONLY public.llm_service_instances
    ADD CONSTRAINT llm_service_instances_api_standard_fkey FOREIGN KEY (api_standard) REFERENCES public.api_standards(api_standard_handle);

ALTER TABLE ONLY public.llm_service_instances
    ADD CONSTRAINT llm_service_instances_definition_id_fkey FOREIGN KEY (definition_id) REFERENCES public.llm_service_definitions(definition_id) ON DELETE SET NULL;

ALTER TABLE ONLY public.llm_service_instances
    ADD CONSTRAINT llm_service_instances_owner_fkey FOREIGN KEY (owner) REFERENCES public.users(user_handle) ON DELETE CASCADE;

ALTER TABLE ONLY public.llm_service_instances_shared_with
    ADD CONSTRAINT llm_service_instances_shared_with_instance_id_fkey FOREIGN KEY (instance_id) REFERENCES public.llm_service_instances(instance_id) ON DELETE CASCADE;

ALTER TABLE ONLY public.llm_service_instances_shared_with
    ADD CONSTRAINT llm_service_instances_shared_with_role_fkey FOREIGN KEY (role) REFERENCES public.vdb_roles(vdb_role);

ALTER TABLE ONLY public.llm_service_instances_shared_with
    ADD CONSTRAINT llm_service_instances_shared_with_user_handle_fkey FOREIGN KEY (user_handle) REFERENCES public.users(user_handle) ON DELETE CASCADE;

ALTER TABLE ONLY public.project_indexes
    ADD CONSTRAINT project_indexes_project_id_fkey FOREIGN KEY (project_id) REFERENCES public.projects(project_id) ON DELETE CASCADE;

ALTER TABLE ONLY public.project_map_parts
    ADD CONSTRAINT project_map_parts_project_id_fkey FOREIGN KEY (project_id) REFERENCES public.project_maps(project_id) ON DELETE CASCADE;

ALTER TABLE ONLY public.project_maps
    ADD CONSTRAINT project_maps_project_id_fkey FOREIGN KEY (project_id) REFERENCES public.projects(project_id) ON DELETE CASCADE;

ALTER TABLE ONLY public.projects
    ADD CONSTRAINT projects_llm_service_instance_id_fkey FOREIGN KEY (llm_service_instance_id) REFERENCES public.llm_service_instances(instance_id);

ALTER TABLE ONLY public.projects
    ADD CONSTRAINT projects_owner_fkey FOREIGN KEY (owner) REFERENCES public.users(user_handle) ON DELETE CASCADE;

ALTER TABLE ONLY public.projects_to_mark
    ADD CONSTRAINT projects_to_mark_project_id_fkey FOREIGN KEY (project_id) REFERENCES public.projects(project_id) ON DELETE CASCADE;

ALTER TABLE ONLY public.usage_reservations
    ADD CONSTRAINT usage_reservations_instance_id_fkey FOREIGN KEY (instance_id) REFERENCES public.llm_service_instances(instance_id) ON DELETE CASCADE;

ALTER TABLE ONLY public.users_projects
    ADD CONSTRAINT users_projects_project_id_fkey FOREIGN KEY (project_id) REFERENCES public.projects(project_id) ON DELETE CASCADE;

ALTER TABLE ONLY public.users_projects
    ADD CONSTRAINT users_projects_role_fkey FOREIGN KEY (role) REFERENCES public.vdb_roles(vdb_role);

ALTER TABLE ONLY public.users_projects
    ADD CONSTRAINT users_projects_user_handle_fkey FOREIGN KEY (user_handle) REFERENCES public.users(user_handle) ON DELETE CASCADE;
