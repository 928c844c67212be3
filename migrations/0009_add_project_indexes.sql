-- The vector index of a project: which rows it has, and how well it finds them.

CREATE TABLE project_indexes (
    project_id   integer NOT NULL
        CONSTRAINT project_indexes_pkey PRIMARY KEY
        CONSTRAINT project_indexes_project_id_fkey REFERENCES projects ON DELETE CASCADE,
    -- The index embeddings_{project_id}_hnsw_{watermark} has the rows with a sequence up to the watermark, and
    -- embeddings_{project_id}_tail_{watermark} the others.
    watermark    bigint NOT NULL,
    -- The number of indexed rows after the build.
    indexed_rows bigint NOT NULL,
    -- Measured after the build: values of hnsw.ef_search, and for each the share of the ten nearest rows found.
    ef_searches  integer[] NOT NULL,
    recalls      double precision[] NOT NULL,
    built_at     timestamptz NOT NULL DEFAULT now()
);

-- Stops the build of an index of a project, which may take hours. Always true.
CREATE FUNCTION cancel_index_build(project_id integer) RETURNS boolean
LANGUAGE sql AS $$
    SELECT count(pg_cancel_backend(pid)) >= 0
      FROM pg_stat_progress_create_index
     WHERE datname = current_database() AND relid = to_regclass('embeddings_' || project_id)
$$;

-- Removes all embeddings of a project, in about the same time for any number of them. Waits five seconds at most for
-- those who use them, because others wait behind it meanwhile.
CREATE FUNCTION empty_embeddings_partition(of_project integer) RETURNS void
LANGUAGE plpgsql SET lock_timeout = '5s' AS $$
BEGIN
    PERFORM cancel_index_build(of_project);
    EXECUTE format('TRUNCATE %I', 'embeddings_' || of_project);
    DELETE FROM project_indexes WHERE project_id = of_project;
END
$$;
