-- Carries the embeddings of the original schema into the partitions, and back, in batches that the migrating
-- process calls for: each call is a transaction, so an interrupted process goes on where it was.

-- NULL: not processed yet. Rows that cannot be migrated stay, with the reason.
ALTER TABLE embeddings_unmigrated ADD COLUMN obstacle text;
CREATE INDEX embeddings_unmigrated_waiting ON embeddings_unmigrated (embeddings_id) WHERE obstacle IS NULL;

-- The rest is deleted with its project, as in the original schema.
DELETE FROM embeddings_unmigrated AS old
 WHERE NOT EXISTS (SELECT FROM projects AS project WHERE project.project_id = old.project_id);
CREATE INDEX embeddings_unmigrated_project_id ON embeddings_unmigrated (project_id);
ALTER TABLE embeddings_unmigrated
    ADD CONSTRAINT embeddings_unmigrated_project_id_fkey
    FOREIGN KEY (project_id) REFERENCES projects ON DELETE CASCADE;

-- Makes missing partitions of projects, at most max_partitions: PostgreSQL cannot lock thousands of tables in
-- one transaction. Returns how many it made.
CREATE FUNCTION make_missing_partitions(max_partitions integer) RETURNS bigint
LANGUAGE sql AS $$
    SELECT count(*)
      FROM (SELECT project.project_id, instance.dimensions
              FROM projects AS project
              JOIN llm_service_instances AS instance
                ON instance.instance_id = project.llm_service_instance_id
             WHERE to_regclass('embeddings_' || project.project_id) IS NULL
             ORDER BY project.project_id
             LIMIT max_partitions) AS missing
     WHERE fit_embeddings_partition(missing.project_id, missing.dimensions)
$$;

-- The rows that were not examined yet, and the obstacle to carrying each (NULL: none). Where several owners
-- had stored the same text, the row of the project's owner is carried, else the newest.
CREATE VIEW embeddings_to_carry AS
SELECT old.embeddings_id, old.project_id,
       CASE
           WHEN old.text_id IS NULL THEN 'no text_id'
           -- PostgreSQL limits keys of an index to a third of a page.
           WHEN octet_length(old.text_id) > 2600 THEN 'text_id too long'
           WHEN project.llm_service_instance_id IS NULL THEN 'its project has no instance'
           WHEN project.llm_service_instance_id <> old.instance_id THEN 'of another instance than its project'
           WHEN vector_dims(old.vector) <> instance.dimensions THEN 'of other dimensions than its project'
           WHEN l2_norm(old.vector) = 0 THEN 'a zero vector'
           WHEN EXISTS (
               SELECT FROM embeddings_unmigrated AS other
                WHERE other.text_id = old.text_id AND other.project_id = old.project_id
                  AND other.instance_id = old.instance_id AND other.embeddings_id <> old.embeddings_id
                  AND vector_dims(other.vector) = instance.dimensions AND l2_norm(other.vector) > 0
                  AND (other.owner = project.owner, other.updated_at, other.embeddings_id)
                      > (old.owner = project.owner, old.updated_at, old.embeddings_id))
               THEN 'another one of the same text_id is carried'
       END AS obstacle
  FROM embeddings_unmigrated AS old
  JOIN projects AS project USING (project_id)
  LEFT JOIN llm_service_instances AS instance ON instance.instance_id = project.llm_service_instance_id
 WHERE old.obstacle IS NULL;

-- Looks at the next rows of embeddings_unmigrated and carries those that can be: number, vector, text, metadata and
-- times as they are. Returns how many it looked at (0: all done) and how many it carried.
CREATE FUNCTION carry_embeddings(max_rows integer, OUT looked_at bigint, OUT carried bigint)
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
        RETURNING sequence
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

-- The way back: moves the next rows of a project's partition, after a text_id, into embeddings_unmigrated.
-- Returns the last text_id that it moved, or NULL when there was none.
CREATE FUNCTION carry_embeddings_back(of_project integer, after_text_id text, max_rows integer) RETURNS text
LANGUAGE plpgsql AS $$
DECLARE
    last_text_id text;
BEGIN
    EXECUTE format(
        'WITH moved AS ('
        '    DELETE FROM %1$I WHERE text_id IN'
        '        (SELECT text_id FROM %1$I WHERE text_id > $2 ORDER BY text_id LIMIT $3) RETURNING *'
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
        'SELECT text_id FROM last', 'embeddings_' || of_project)
       INTO last_text_id
      USING of_project, after_text_id, max_rows;
    RETURN last_text_id;
END
$$;
