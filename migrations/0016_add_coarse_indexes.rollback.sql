-- Coarse indexes go: projects without another one are searched exactly until they have a graph.
DO $$
DECLARE
    index regclass;
BEGIN
    FOR index IN
        SELECT oid FROM pg_class
         WHERE relkind = 'i' AND relnamespace = quote_ident(current_schema())::regnamespace
           AND relname ~ '^embeddings_\d+_ivf_\d+$'
    LOOP
        EXECUTE 'DROP INDEX ' || index;
    END LOOP;
END
$$;
DELETE FROM project_indexes WHERE lists > 0;
ALTER TABLE project_indexes DROP COLUMN lists, DROP COLUMN probes, DROP COLUMN probe_recalls;
