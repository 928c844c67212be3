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

DROP FUNCTION embedding_order(text);
DROP TABLE project_map_parts;
DROP TABLE project_maps;
