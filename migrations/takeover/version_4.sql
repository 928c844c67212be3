-- A database of the original system at version 4 becomes what migration 0004 leaves.

SET LOCAL TIME ZONE 'UTC'; -- see migration 0004

ALTER TABLE definitions RENAME TO llm_service_definitions;
ALTER TABLE definitions_shared_with RENAME TO llm_service_definitions_shared_with;
ALTER TABLE instances RENAME TO llm_service_instances;
ALTER TABLE instances_shared_with RENAME TO llm_service_instances_shared_with;
ALTER TABLE projects RENAME COLUMN instance_id TO llm_service_instance_id;

-- Times are with a time zone, never NULL, and have a default.
DO $$
DECLARE
    of_table text;
    of_column text;
BEGIN
    FOREACH of_table IN ARRAY ARRAY[
        'users', 'api_standards', 'projects', 'users_projects', 'embeddings', 'llm_service_definitions',
        'llm_service_definitions_shared_with', 'llm_service_instances', 'llm_service_instances_shared_with']
    LOOP
        FOREACH of_column IN ARRAY ARRAY['created_at', 'updated_at']
        LOOP
            EXECUTE format(
                'ALTER TABLE %1$I ADD COLUMN IF NOT EXISTS %2$I timestamptz NOT NULL DEFAULT now()',
                of_table, of_column);
            EXECUTE format(
                'ALTER TABLE %1$I ALTER COLUMN %2$I DROP DEFAULT, ALTER COLUMN %2$I TYPE timestamptz, '
                'ALTER COLUMN %2$I SET NOT NULL, ALTER COLUMN %2$I SET DEFAULT now()', of_table, of_column);
        END LOOP;
    END LOOP;
END
$$;
ALTER TABLE llm_service_definitions_shared_with DROP COLUMN updated_at;

ALTER TABLE users ALTER COLUMN user_handle TYPE varchar(64);
ALTER TABLE api_standards
    ALTER COLUMN api_standard_handle TYPE varchar(64),
    ALTER COLUMN key_field TYPE text;

SELECT pg_temp.name_constraint('llm_service_definitions', 'p', '{definition_id}', 'llm_service_definitions_pkey'),
       pg_temp.name_constraint('llm_service_definitions', 'f', '{owner}', 'llm_service_definitions_owner_fkey'),
       pg_temp.name_constraint('llm_service_definitions', 'f', '{api_standard}',
                               'llm_service_definitions_api_standard_fkey'),
       pg_temp.name_constraint('llm_service_definitions', 'u', '{owner,definition_handle}',
                               'llm_service_definitions_owner_definition_handle_key'),
       pg_temp.name_sequence('llm_service_definitions', 'definition_id',
                             'llm_service_definitions_definition_id_seq');
ALTER TABLE llm_service_definitions
    ALTER COLUMN definition_handle TYPE varchar(64),
    ALTER COLUMN owner TYPE varchar(64),
    ALTER COLUMN api_standard TYPE varchar(64),
    ALTER COLUMN endpoint DROP NOT NULL,
    ALTER COLUMN model DROP NOT NULL,
    ALTER COLUMN dimensions DROP NOT NULL,
    ALTER COLUMN context_limit DROP NOT NULL;

-- The original system stored a number that nobody gave as 0.
UPDATE llm_service_definitions
   SET dimensions = nullif(dimensions, 0), context_limit = nullif(context_limit, 0)
 WHERE dimensions = 0 OR context_limit = 0;
ALTER TABLE llm_service_definitions
    ADD CONSTRAINT llm_service_definitions_dimensions_check CHECK (dimensions BETWEEN 1 AND 16000),
    ADD CONSTRAINT llm_service_definitions_context_limit_check CHECK (context_limit >= 1);

SELECT pg_temp.name_constraint('llm_service_definitions_shared_with', 'p', '{user_handle,definition_id}',
                               'llm_service_definitions_shared_with_pkey'),
       pg_temp.name_constraint('llm_service_definitions_shared_with', 'f', '{user_handle}',
                               'llm_service_definitions_shared_with_user_handle_fkey'),
       pg_temp.name_constraint('llm_service_definitions_shared_with', 'f', '{definition_id}',
                               'llm_service_definitions_shared_with_definition_id_fkey'),
       pg_temp.drop_indexes('llm_service_definitions_shared_with');
ALTER TABLE llm_service_definitions_shared_with ALTER COLUMN user_handle TYPE varchar(64);
CREATE INDEX llm_service_definitions_shared_with_definition_id
    ON llm_service_definitions_shared_with (definition_id);

SELECT pg_temp.name_constraint('llm_service_instances', 'p', '{instance_id}', 'llm_service_instances_pkey'),
       pg_temp.name_constraint('llm_service_instances', 'f', '{owner}', 'llm_service_instances_owner_fkey'),
       pg_temp.name_constraint('llm_service_instances', 'f', '{api_standard}',
                               'llm_service_instances_api_standard_fkey'),
       pg_temp.name_constraint('llm_service_instances', 'f', '{definition_id}',
                               'llm_service_instances_definition_id_fkey'),
       pg_temp.name_constraint('llm_service_instances', 'u', '{owner,instance_handle}',
                               'llm_service_instances_owner_instance_handle_key'),
       pg_temp.name_sequence('llm_service_instances', 'instance_id', 'llm_service_instances_instance_id_seq'),
       pg_temp.drop_indexes('llm_service_instances');
ALTER TABLE llm_service_instances
    ALTER COLUMN instance_handle TYPE varchar(64),
    ALTER COLUMN owner TYPE varchar(64),
    ALTER COLUMN api_standard TYPE varchar(64),
    ALTER COLUMN endpoint DROP NOT NULL,
    ALTER COLUMN model DROP NOT NULL,
    ALTER COLUMN context_limit DROP NOT NULL;
UPDATE llm_service_instances SET context_limit = NULL WHERE context_limit = 0;
ALTER TABLE llm_service_instances
    ADD CONSTRAINT llm_service_instances_dimensions_check CHECK (dimensions BETWEEN 1 AND 16000),
    ADD CONSTRAINT llm_service_instances_context_limit_check CHECK (context_limit >= 1);
CREATE INDEX llm_service_instances_definition_id ON llm_service_instances (definition_id);

SELECT pg_temp.name_constraint('llm_service_instances_shared_with', 'p', '{user_handle,instance_id}',
                               'llm_service_instances_shared_with_pkey'),
       pg_temp.name_constraint('llm_service_instances_shared_with', 'f', '{user_handle}',
                               'llm_service_instances_shared_with_user_handle_fkey'),
       pg_temp.name_constraint('llm_service_instances_shared_with', 'f', '{instance_id}',
                               'llm_service_instances_shared_with_instance_id_fkey'),
       pg_temp.name_constraint('llm_service_instances_shared_with', 'f', '{role}',
                               'llm_service_instances_shared_with_role_fkey'),
       pg_temp.drop_indexes('llm_service_instances_shared_with');
ALTER TABLE llm_service_instances_shared_with ALTER COLUMN user_handle TYPE varchar(64);

-- The owner is a column of the instance, and of the project; only others have a share.
DELETE FROM llm_service_instances_shared_with AS share
 USING llm_service_instances AS instance
 WHERE instance.instance_id = share.instance_id AND instance.owner = share.user_handle;
UPDATE llm_service_instances_shared_with SET role = 'editor' WHERE role = 'owner';
ALTER TABLE llm_service_instances_shared_with
    ADD CONSTRAINT llm_service_instances_shared_with_role_check CHECK (role IN ('editor', 'reader'));
CREATE INDEX llm_service_instances_shared_with_instance_id ON llm_service_instances_shared_with (instance_id);

SELECT pg_temp.name_constraint('projects', 'f', '{llm_service_instance_id}', 'projects_llm_service_instance_id_fkey'),
       pg_temp.drop_indexes('projects');
-- NO ACTION, not RESTRICT: see migration 0004.
ALTER TABLE projects DROP CONSTRAINT projects_llm_service_instance_id_fkey;
UPDATE projects SET public_read = false WHERE public_read IS NULL;
ALTER TABLE projects
    ALTER COLUMN project_handle TYPE varchar(64),
    ALTER COLUMN owner TYPE varchar(64),
    ALTER COLUMN public_read SET NOT NULL,
    ALTER COLUMN public_read SET DEFAULT false,
    ADD CONSTRAINT projects_llm_service_instance_id_fkey
        FOREIGN KEY (llm_service_instance_id) REFERENCES llm_service_instances;
CREATE INDEX projects_llm_service_instance_id ON projects (llm_service_instance_id);

DELETE FROM users_projects
 USING projects
 WHERE projects.project_id = users_projects.project_id AND projects.owner = users_projects.user_handle;
UPDATE users_projects SET role = 'editor' WHERE role = 'owner';
SELECT pg_temp.drop_indexes('users_projects');
ALTER TABLE users_projects
    ALTER COLUMN project_id DROP DEFAULT,
    ALTER COLUMN user_handle TYPE varchar(64),
    ADD CONSTRAINT users_projects_role_check CHECK (role IN ('editor', 'reader'));
CREATE INDEX users_projects_project_id ON users_projects (project_id);

SELECT pg_temp.name_constraint('embeddings', 'f', '{instance_id}', 'embeddings_instance_id_fkey'),
       pg_temp.name_constraint('embeddings', 'u', '{text_id,owner,project_id,instance_id}',
                               'embeddings_text_id_owner_project_id_instance_id_key');
ALTER TABLE embeddings ALTER COLUMN owner TYPE varchar(64);

-- What is built in is the same everywhere.
INSERT INTO users (user_handle, name, email, vdb_key)
VALUES ('_system', 'Built-in definitions', 'system@dhamps-vdb.internal', repeat('-', 64))
    ON CONFLICT (user_handle) DO UPDATE SET name = excluded.name, vdb_key = excluded.vdb_key;

INSERT INTO llm_service_definitions
    (definition_handle, owner, endpoint, description, api_standard, model, dimensions, context_limit, is_public)
VALUES
    ('openai-large', '_system', 'https://api.openai.com/v1/embeddings',
     'OpenAI text-embedding-3-large', 'openai', 'text-embedding-3-large', 3072, 8192, true),
    ('openai-small', '_system', 'https://api.openai.com/v1/embeddings',
     'OpenAI text-embedding-3-small', 'openai', 'text-embedding-3-small', 1536, 8191, true),
    ('cohere-multilingual-v3', '_system', 'https://api.cohere.com/v2/embed',
     'Cohere embed-multilingual-v3.0', 'cohere', 'embed-multilingual-v3.0', 1024, 512, true),
    ('cohere-v4', '_system', 'https://api.cohere.com/v2/embed',
     'Cohere embed-v4.0', 'cohere', 'embed-v4.0', 1536, 128000, true),
    ('gemini-embedding-001', '_system',
     'https://generativelanguage.googleapis.com/v1beta/models/gemini-embedding-001:embedContent',
     'Google gemini-embedding-001', 'gemini', 'gemini-embedding-001', 768, 2048, true)
    ON CONFLICT (owner, definition_handle) DO UPDATE
   SET endpoint = excluded.endpoint, description = excluded.description, api_standard = excluded.api_standard,
       model = excluded.model, dimensions = excluded.dimensions, context_limit = excluded.context_limit,
       is_public = excluded.is_public, updated_at = now();

-- The original service must not take this database for its own: no version of it knows a number like this.
UPDATE db_version SET version = version + 1000000;
