-- Maps of projects: their embeddings as points in the plane, made by the indexer when somebody has asked for one
-- (service/storage/maps.py).

-- `asked_at` is null when nothing is to be done. `stage` ('pca' or 'neighbours') is the work that the indexer is at, `progress`
-- how much of it is done, from 0 to 1; both stay when it is killed, and the next one begins anew. The points show the project
-- at `made_at`, when its counter of changes was `changes`. The projection onto the plane, `basis`, and the layout by neighbours
-- are kept until much has changed beyond `base_changes`, when the project had `base_rows` rows. Numbers are little-endian:
-- float32 in `basis`, the mean and then the axes.
CREATE TABLE project_maps (
    project_id         integer NOT NULL,
    asked_at           timestamptz,
    stage              text,
    progress           double precision,
    failed_at          timestamptz,
    error              text,
    made_at            timestamptz,
    changes            bigint,
    base_changes       bigint,
    base_rows          bigint,
    basis              bytea,
    has_neighbours     boolean NOT NULL DEFAULT false,
    explained          double precision[] NOT NULL DEFAULT '{}',
    trust_sample       integer,
    trust_of_pca       double precision,
    trust_of_neighbours double precision,
    CONSTRAINT project_maps_pkey PRIMARY KEY (project_id),
    CONSTRAINT project_maps_project_id_fkey FOREIGN KEY (project_id) REFERENCES projects ON DELETE CASCADE
);
CREATE INDEX project_maps_asked_at ON project_maps (asked_at) WHERE asked_at IS NOT NULL;

-- The points, some thousands in a part, in the order of the hashes of their ids. `sequences` (int64) are those of the rows when
-- they were placed, so that a changed row is known as such; `pca` and `neighbours` are pairs of float32.
CREATE TABLE project_map_parts (
    project_id integer NOT NULL,
    part       integer NOT NULL,
    text_ids   text[] NOT NULL,
    sequences  bytea NOT NULL,
    pca        bytea NOT NULL,
    neighbours bytea,
    CONSTRAINT project_map_parts_pkey PRIMARY KEY (project_id, part),
    CONSTRAINT project_map_parts_project_id_fkey FOREIGN KEY (project_id) REFERENCES project_maps ON DELETE CASCADE
);

-- The order in which embeddings are taken into a sample: it depends on the id alone, so a new row moves no other one.
CREATE FUNCTION embedding_order(text_id text) RETURNS bigint
LANGUAGE sql STABLE PARALLEL SAFE AS $$
    SELECT hashtextextended(text_id COLLATE "C", 0) & 9223372036854775807
$$;

-- An emptied project has no map.
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
    DELETE FROM project_maps WHERE project_id = of_project;
END
$$;
