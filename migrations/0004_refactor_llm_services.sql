-- Definitions (reusable templates) and instances (a user's own service, with an encrypted provider key)
-- take the place of LLM services; a project belongs to exactly one instance; instances and definitions
-- can be shared. Handles grow from 20 to 64 characters (the built-in 'cohere-multilingual-v3' has 22),
-- and times, which were UTC by convention, become timestamps with a time zone.

-- In UTC the old and the new type are the same bits: PostgreSQL then changes the catalogue only, and neither
-- rewrites the embeddings nor builds their vector indexes anew.
SET LOCAL TIME ZONE 'UTC';

ALTER TABLE users
    ALTER COLUMN user_handle TYPE varchar(64),
    ALTER COLUMN created_at DROP DEFAULT, ALTER COLUMN updated_at DROP DEFAULT,
    ALTER COLUMN created_at TYPE timestamptz, ALTER COLUMN updated_at TYPE timestamptz,
    ALTER COLUMN created_at SET DEFAULT now(), ALTER COLUMN updated_at SET DEFAULT now();

-- No key opens _system: the stored value is not a hexadecimal digest.
INSERT INTO users (user_handle, name, email, vdb_key)
VALUES ('_system', 'Built-in definitions', 'system@dhamps-vdb.internal', repeat('-', 64));

ALTER TABLE api_standards
    ALTER COLUMN api_standard_handle TYPE varchar(64),
    ALTER COLUMN key_field TYPE text,
    ALTER COLUMN created_at DROP DEFAULT, ALTER COLUMN updated_at DROP DEFAULT,
    ALTER COLUMN created_at TYPE timestamptz, ALTER COLUMN updated_at TYPE timestamptz,
    ALTER COLUMN created_at SET DEFAULT now(), ALTER COLUMN updated_at SET DEFAULT now();

CREATE TABLE llm_service_definitions (
    definition_id     serial CONSTRAINT llm_service_definitions_pkey PRIMARY KEY,
    definition_handle varchar(64) NOT NULL,
    owner             varchar(64) NOT NULL
        CONSTRAINT llm_service_definitions_owner_fkey REFERENCES users ON DELETE CASCADE,
    endpoint          text,
    description       text,
    api_standard      varchar(64) NOT NULL
        CONSTRAINT llm_service_definitions_api_standard_fkey REFERENCES api_standards,
    model             text,
    dimensions        integer
        CONSTRAINT llm_service_definitions_dimensions_check CHECK (dimensions BETWEEN 1 AND 16000),
    context_limit     integer
        CONSTRAINT llm_service_definitions_context_limit_check CHECK (context_limit >= 1),
    is_public         boolean NOT NULL DEFAULT false,
    created_at        timestamptz NOT NULL DEFAULT now(),
    updated_at        timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT llm_service_definitions_owner_definition_handle_key UNIQUE (owner, definition_handle)
);

CREATE TABLE llm_service_definitions_shared_with (
    user_handle   varchar(64) NOT NULL
        CONSTRAINT llm_service_definitions_shared_with_user_handle_fkey REFERENCES users ON DELETE CASCADE,
    definition_id integer NOT NULL
        CONSTRAINT llm_service_definitions_shared_with_definition_id_fkey
        REFERENCES llm_service_definitions ON DELETE CASCADE,
    created_at    timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT llm_service_definitions_shared_with_pkey PRIMARY KEY (user_handle, definition_id)
);

CREATE INDEX llm_service_definitions_shared_with_definition_id
    ON llm_service_definitions_shared_with (definition_id);

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
     'Google gemini-embedding-001', 'gemini', 'gemini-embedding-001', 768, 2048, true);

ALTER TABLE llm_services RENAME TO llm_service_instances;
ALTER TABLE llm_service_instances RENAME COLUMN llm_service_id TO instance_id;
ALTER TABLE llm_service_instances RENAME COLUMN llm_service_handle TO instance_handle;
ALTER TABLE llm_service_instances RENAME CONSTRAINT llm_services_pkey TO llm_service_instances_pkey;
ALTER TABLE llm_service_instances RENAME CONSTRAINT llm_services_owner_fkey TO llm_service_instances_owner_fkey;
ALTER TABLE llm_service_instances
    RENAME CONSTRAINT llm_services_api_standard_fkey TO llm_service_instances_api_standard_fkey;
ALTER TABLE llm_service_instances
    RENAME CONSTRAINT llm_services_owner_llm_service_handle_key TO llm_service_instances_owner_instance_handle_key;
ALTER SEQUENCE llm_services_llm_service_id_seq RENAME TO llm_service_instances_instance_id_seq;

ALTER TABLE llm_service_instances
    ALTER COLUMN instance_handle TYPE varchar(64),
    ALTER COLUMN owner TYPE varchar(64),
    ALTER COLUMN api_standard TYPE varchar(64),
    ALTER COLUMN endpoint DROP NOT NULL,
    ALTER COLUMN model DROP NOT NULL,
    ALTER COLUMN created_at DROP DEFAULT, ALTER COLUMN updated_at DROP DEFAULT,
    ALTER COLUMN created_at TYPE timestamptz, ALTER COLUMN updated_at TYPE timestamptz,
    ALTER COLUMN created_at SET DEFAULT now(), ALTER COLUMN updated_at SET DEFAULT now(),
    ADD COLUMN context_limit integer
        CONSTRAINT llm_service_instances_context_limit_check CHECK (context_limit >= 1),
    ADD COLUMN definition_id integer
        CONSTRAINT llm_service_instances_definition_id_fkey
        REFERENCES llm_service_definitions ON DELETE SET NULL,
    -- nonce (12 bytes), ciphertext, tag (16 bytes); AES-256-GCM
    ADD COLUMN api_key_encrypted bytea,
    ADD CONSTRAINT llm_service_instances_dimensions_check CHECK (dimensions BETWEEN 1 AND 16000);

CREATE INDEX llm_service_instances_definition_id ON llm_service_instances (definition_id);

CREATE TABLE llm_service_instances_shared_with (
    user_handle varchar(64) NOT NULL
        CONSTRAINT llm_service_instances_shared_with_user_handle_fkey REFERENCES users ON DELETE CASCADE,
    instance_id integer NOT NULL
        CONSTRAINT llm_service_instances_shared_with_instance_id_fkey
        REFERENCES llm_service_instances ON DELETE CASCADE,
    role        varchar(20) NOT NULL
        CONSTRAINT llm_service_instances_shared_with_role_fkey REFERENCES vdb_roles
        CONSTRAINT llm_service_instances_shared_with_role_check CHECK (role IN ('editor', 'reader')),
    created_at  timestamptz NOT NULL DEFAULT now(),
    updated_at  timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT llm_service_instances_shared_with_pkey PRIMARY KEY (user_handle, instance_id)
);

CREATE INDEX llm_service_instances_shared_with_instance_id ON llm_service_instances_shared_with (instance_id);

-- The owner is a column of the instance; only others have a share.
INSERT INTO llm_service_instances_shared_with (user_handle, instance_id, role, created_at, updated_at)
SELECT link.user_handle, link.llm_service_id, CASE link.role WHEN 'reader' THEN 'reader' ELSE 'editor' END,
       link.created_at AT TIME ZONE 'UTC', link.updated_at AT TIME ZONE 'UTC'
  FROM users_llm_services AS link
  JOIN llm_service_instances AS instance ON instance.instance_id = link.llm_service_id
 WHERE link.user_handle <> instance.owner;

DROP TABLE users_llm_services;

-- NO ACTION, not RESTRICT: deleting a user deletes their projects and instances in one statement.
ALTER TABLE projects
    ALTER COLUMN project_handle TYPE varchar(64),
    ALTER COLUMN owner TYPE varchar(64),
    ALTER COLUMN created_at DROP DEFAULT, ALTER COLUMN updated_at DROP DEFAULT,
    ALTER COLUMN created_at TYPE timestamptz, ALTER COLUMN updated_at TYPE timestamptz,
    ALTER COLUMN created_at SET DEFAULT now(), ALTER COLUMN updated_at SET DEFAULT now(),
    ADD COLUMN llm_service_instance_id integer
        CONSTRAINT projects_llm_service_instance_id_fkey REFERENCES llm_service_instances;

UPDATE projects
   SET llm_service_instance_id = (
       SELECT link.llm_service_id
         FROM projects_llm_services AS link
        WHERE link.project_id = projects.project_id
        ORDER BY link.created_at, link.llm_service_id
        LIMIT 1);

CREATE INDEX projects_llm_service_instance_id ON projects (llm_service_instance_id);

DROP TABLE projects_llm_services;

UPDATE projects SET public_read = false WHERE public_read IS NULL;
ALTER TABLE projects ALTER COLUMN public_read SET NOT NULL;

DELETE FROM users_projects
 USING projects
 WHERE projects.project_id = users_projects.project_id AND projects.owner = users_projects.user_handle;

UPDATE users_projects SET role = 'editor' WHERE role = 'owner';

ALTER TABLE users_projects
    ALTER COLUMN project_id DROP DEFAULT,
    ALTER COLUMN user_handle TYPE varchar(64),
    ALTER COLUMN created_at DROP DEFAULT, ALTER COLUMN updated_at DROP DEFAULT,
    ALTER COLUMN created_at TYPE timestamptz, ALTER COLUMN updated_at TYPE timestamptz,
    ALTER COLUMN created_at SET DEFAULT now(), ALTER COLUMN updated_at SET DEFAULT now(),
    ADD CONSTRAINT users_projects_role_check CHECK (role IN ('editor', 'reader'));

CREATE INDEX users_projects_project_id ON users_projects (project_id);

ALTER TABLE embeddings RENAME COLUMN llm_service_id TO instance_id;
ALTER TABLE embeddings RENAME CONSTRAINT embeddings_llm_service_id_fkey TO embeddings_instance_id_fkey;
ALTER TABLE embeddings
    RENAME CONSTRAINT embeddings_text_id_owner_project_id_llm_service_id_key
    TO embeddings_text_id_owner_project_id_instance_id_key;
ALTER TABLE embeddings
    ALTER COLUMN owner TYPE varchar(64),
    ALTER COLUMN created_at DROP DEFAULT, ALTER COLUMN updated_at DROP DEFAULT,
    ALTER COLUMN created_at TYPE timestamptz, ALTER COLUMN updated_at TYPE timestamptz,
    ALTER COLUMN created_at SET DEFAULT now(), ALTER COLUMN updated_at SET DEFAULT now();

-- The original service must not take this database for its own: no version of it knows a number like this.
DO $$
BEGIN
    IF to_regclass(format('%I.db_version', current_schema())) IS NOT NULL THEN
        UPDATE db_version SET version = version + 1000000 WHERE version < 1000000;
    END IF;
END
$$;
