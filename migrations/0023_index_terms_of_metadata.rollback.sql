DO $$
DECLARE
    index regclass;
BEGIN
    FOR index IN
        SELECT oid FROM pg_class
         WHERE relkind = 'i' AND relnamespace = quote_ident(current_schema())::regnamespace
           AND relname ~ '^embeddings_\d+_terms_\d+$'
    LOOP
        EXECUTE 'DROP INDEX ' || index;
    END LOOP;
END
$$;
ALTER TABLE project_indexes DROP COLUMN terms_watermark;
DROP FUNCTION metadata_terms(jsonb);
