-- Functions for the takeover of a database of the original system, for the time of the session. Such a database
-- may have been made by hand, or by an older release: things are found by what they are, and then have the names
-- that the migrations know them by.

-- Gives the constraint of a kind ('p' primary key, 'u' unique, 'f' foreign key) on these columns its name.
CREATE FUNCTION pg_temp.name_constraint(of_table text, kind "char", of_columns text[], wanted text) RETURNS void
LANGUAGE plpgsql AS $$
DECLARE
    found text;
BEGIN
    SELECT con.conname INTO found
      FROM pg_constraint AS con
     WHERE con.conrelid = of_table::regclass AND con.contype = kind
       AND (SELECT array_agg(att.attname::text ORDER BY att.attname)
              FROM pg_attribute AS att
             WHERE att.attrelid = con.conrelid AND att.attnum = ANY (con.conkey))
           = (SELECT array_agg(name ORDER BY name) FROM unnest(of_columns) AS name);
    IF found IS NULL THEN
        RAISE EXCEPTION 'the table % has no constraint of kind % on (%)',
            of_table, kind, array_to_string(of_columns, ', ');
    END IF;
    IF found <> wanted THEN
        EXECUTE format('ALTER TABLE %I RENAME CONSTRAINT %I TO %I', of_table, found, wanted);
    END IF;
END
$$;

-- Gives the sequence behind a column its name.
CREATE FUNCTION pg_temp.name_sequence(of_table text, of_column text, wanted text) RETURNS void
LANGUAGE plpgsql AS $$
DECLARE
    found regclass := pg_get_serial_sequence(of_table, of_column);
BEGIN
    IF found IS NULL THEN
        RAISE EXCEPTION 'the column %.% has no sequence', of_table, of_column;
    END IF;
    IF to_regclass(wanted) IS DISTINCT FROM found THEN
        EXECUTE format('ALTER SEQUENCE %s RENAME TO %I', found, wanted);
    END IF;
END
$$;

-- Drops the indexes that do not belong to a constraint.
CREATE FUNCTION pg_temp.drop_indexes(of_table text) RETURNS void
LANGUAGE plpgsql AS $$
DECLARE
    index regclass;
BEGIN
    FOR index IN
        SELECT indexrelid FROM pg_index
         WHERE indrelid = of_table::regclass
           AND NOT EXISTS (SELECT FROM pg_constraint WHERE conindid = indexrelid AND conrelid = indrelid)
    LOOP
        EXECUTE format('DROP INDEX %s', index);
    END LOOP;
END
$$;

SELECT pg_temp.name_constraint('users', 'p', '{user_handle}', 'users_pkey'),
       pg_temp.name_constraint('users', 'u', '{email}', 'users_email_key'),
       pg_temp.name_constraint('users', 'u', '{vdb_key}', 'users_vdb_key_key'),
       pg_temp.name_constraint('vdb_roles', 'p', '{vdb_role}', 'vdb_roles_pkey'),
       pg_temp.name_constraint('projects', 'p', '{project_id}', 'projects_pkey'),
       pg_temp.name_constraint('projects', 'f', '{owner}', 'projects_owner_fkey'),
       pg_temp.name_constraint('projects', 'u', '{owner,project_handle}', 'projects_owner_project_handle_key'),
       pg_temp.name_sequence('projects', 'project_id', 'projects_project_id_seq'),
       pg_temp.name_constraint('users_projects', 'p', '{user_handle,project_id}', 'users_projects_pkey'),
       pg_temp.name_constraint('users_projects', 'f', '{user_handle}', 'users_projects_user_handle_fkey'),
       pg_temp.name_constraint('users_projects', 'f', '{project_id}', 'users_projects_project_id_fkey'),
       pg_temp.name_constraint('users_projects', 'f', '{role}', 'users_projects_role_fkey'),
       pg_temp.name_sequence('users_projects', 'project_id', 'users_projects_project_id_seq'),
       pg_temp.name_constraint('key_methods', 'p', '{key_method}', 'key_methods_pkey'),
       pg_temp.name_constraint('api_standards', 'p', '{api_standard_handle}', 'api_standards_pkey'),
       pg_temp.name_constraint('api_standards', 'f', '{key_method}', 'api_standards_key_method_fkey'),
       pg_temp.name_constraint('embeddings', 'p', '{embeddings_id}', 'embeddings_pkey'),
       pg_temp.name_constraint('embeddings', 'f', '{owner}', 'embeddings_owner_fkey'),
       pg_temp.name_constraint('embeddings', 'f', '{project_id}', 'embeddings_project_id_fkey'),
       pg_temp.name_sequence('embeddings', 'embeddings_id', 'embeddings_embeddings_id_seq'),
       -- Also its vector indexes: updating them for rows that are moved later would be useless work.
       pg_temp.drop_indexes('embeddings');

-- What is built in, where it is missing.
INSERT INTO vdb_roles (vdb_role) VALUES ('owner'), ('editor'), ('reader') ON CONFLICT DO NOTHING;
INSERT INTO key_methods (key_method) VALUES ('auth_bearer'), ('body_form'), ('query_param'), ('custom_header')
    ON CONFLICT DO NOTHING;
INSERT INTO api_standards (api_standard_handle, description, key_method, key_field, created_at, updated_at)
SELECT built_in.*, now() AT TIME ZONE 'UTC', now() AT TIME ZONE 'UTC'
  FROM (VALUES ('openai', 'OpenAI embeddings API', 'auth_bearer', 'Authorization'),
               ('cohere', 'Cohere embed API', 'auth_bearer', 'Authorization'),
               ('gemini', 'Google Gemini embeddings API', 'custom_header', 'x-goog-api-key')) AS built_in
    ON CONFLICT DO NOTHING;
