-- Handles, or names of key fields, of more than 20 characters make this rollback stop before it changes anything.

-- In UTC the old and the new type are the same bits: PostgreSQL then changes the catalogue only, and neither
-- rewrites the embeddings nor builds their vector indexes anew.
SET LOCAL TIME ZONE 'UTC';

ALTER TABLE embeddings
    ALTER COLUMN owner TYPE varchar(20),
    ALTER COLUMN created_at DROP DEFAULT, ALTER COLUMN updated_at DROP DEFAULT,
    ALTER COLUMN created_at TYPE timestamp, ALTER COLUMN updated_at TYPE timestamp,
    ALTER COLUMN created_at SET DEFAULT (now() AT TIME ZONE 'UTC'),
    ALTER COLUMN updated_at SET DEFAULT (now() AT TIME ZONE 'UTC');
ALTER TABLE embeddings
    RENAME CONSTRAINT embeddings_text_id_owner_project_id_instance_id_key
    TO embeddings_text_id_owner_project_id_llm_service_id_key;
ALTER TABLE embeddings RENAME CONSTRAINT embeddings_instance_id_fkey TO embeddings_llm_service_id_fkey;
ALTER TABLE embeddings RENAME COLUMN instance_id TO llm_service_id;

DROP INDEX users_projects_project_id;

ALTER TABLE users_projects
    DROP CONSTRAINT users_projects_role_check,
    ALTER COLUMN project_id SET DEFAULT nextval('users_projects_project_id_seq'),
    ALTER COLUMN user_handle TYPE varchar(20),
    ALTER COLUMN created_at DROP DEFAULT, ALTER COLUMN updated_at DROP DEFAULT,
    ALTER COLUMN created_at TYPE timestamp, ALTER COLUMN updated_at TYPE timestamp,
    ALTER COLUMN created_at SET DEFAULT (now() AT TIME ZONE 'UTC'),
    ALTER COLUMN updated_at SET DEFAULT (now() AT TIME ZONE 'UTC');

INSERT INTO users_projects (user_handle, project_id, role, created_at, updated_at)
SELECT owner, project_id, 'owner', created_at AT TIME ZONE 'UTC', updated_at AT TIME ZONE 'UTC' FROM projects;

ALTER TABLE projects ALTER COLUMN public_read DROP NOT NULL;

CREATE TABLE projects_llm_services (
    project_id     integer NOT NULL
        CONSTRAINT projects_llm_services_project_id_fkey REFERENCES projects ON DELETE CASCADE,
    llm_service_id integer NOT NULL
        CONSTRAINT projects_llm_services_llm_service_id_fkey REFERENCES llm_service_instances ON DELETE CASCADE,
    created_at     timestamp NOT NULL DEFAULT (now() AT TIME ZONE 'UTC'),
    updated_at     timestamp NOT NULL DEFAULT (now() AT TIME ZONE 'UTC'),
    CONSTRAINT projects_llm_services_pkey PRIMARY KEY (project_id, llm_service_id)
);

INSERT INTO projects_llm_services (project_id, llm_service_id, created_at, updated_at)
SELECT project_id, llm_service_instance_id, created_at AT TIME ZONE 'UTC', updated_at AT TIME ZONE 'UTC'
  FROM projects WHERE llm_service_instance_id IS NOT NULL;

DROP INDEX projects_llm_service_instance_id;

ALTER TABLE projects
    DROP COLUMN llm_service_instance_id,
    ALTER COLUMN project_handle TYPE varchar(20),
    ALTER COLUMN owner TYPE varchar(20),
    ALTER COLUMN created_at DROP DEFAULT, ALTER COLUMN updated_at DROP DEFAULT,
    ALTER COLUMN created_at TYPE timestamp, ALTER COLUMN updated_at TYPE timestamp,
    ALTER COLUMN created_at SET DEFAULT (now() AT TIME ZONE 'UTC'),
    ALTER COLUMN updated_at SET DEFAULT (now() AT TIME ZONE 'UTC');

CREATE TABLE users_llm_services (
    user_handle    varchar(20) NOT NULL
        CONSTRAINT users_llm_services_user_handle_fkey REFERENCES users ON DELETE CASCADE,
    llm_service_id integer NOT NULL
        CONSTRAINT users_llm_services_llm_service_id_fkey REFERENCES llm_service_instances ON DELETE CASCADE,
    role           varchar(20) NOT NULL CONSTRAINT users_llm_services_role_fkey REFERENCES vdb_roles,
    created_at     timestamp NOT NULL DEFAULT (now() AT TIME ZONE 'UTC'),
    updated_at     timestamp NOT NULL DEFAULT (now() AT TIME ZONE 'UTC'),
    CONSTRAINT users_llm_services_pkey PRIMARY KEY (user_handle, llm_service_id)
);

INSERT INTO users_llm_services (user_handle, llm_service_id, role, created_at, updated_at)
SELECT user_handle, instance_id, role, created_at AT TIME ZONE 'UTC', updated_at AT TIME ZONE 'UTC'
  FROM llm_service_instances_shared_with
 UNION ALL
SELECT owner, instance_id, 'owner', created_at AT TIME ZONE 'UTC', updated_at AT TIME ZONE 'UTC'
  FROM llm_service_instances;

DROP TABLE llm_service_instances_shared_with;

DROP INDEX llm_service_instances_definition_id;

UPDATE llm_service_instances
   SET endpoint = coalesce(endpoint, ''), model = coalesce(model, '')
 WHERE endpoint IS NULL OR model IS NULL;

ALTER TABLE llm_service_instances
    DROP CONSTRAINT llm_service_instances_dimensions_check,
    DROP COLUMN api_key_encrypted,
    DROP COLUMN definition_id,
    DROP COLUMN context_limit,
    ALTER COLUMN instance_handle TYPE varchar(20),
    ALTER COLUMN owner TYPE varchar(20),
    ALTER COLUMN api_standard TYPE varchar(20),
    ALTER COLUMN endpoint SET NOT NULL,
    ALTER COLUMN model SET NOT NULL,
    ALTER COLUMN created_at DROP DEFAULT, ALTER COLUMN updated_at DROP DEFAULT,
    ALTER COLUMN created_at TYPE timestamp, ALTER COLUMN updated_at TYPE timestamp,
    ALTER COLUMN created_at SET DEFAULT (now() AT TIME ZONE 'UTC'),
    ALTER COLUMN updated_at SET DEFAULT (now() AT TIME ZONE 'UTC');

ALTER SEQUENCE llm_service_instances_instance_id_seq RENAME TO llm_services_llm_service_id_seq;
ALTER TABLE llm_service_instances
    RENAME CONSTRAINT llm_service_instances_owner_instance_handle_key TO llm_services_owner_llm_service_handle_key;
ALTER TABLE llm_service_instances
    RENAME CONSTRAINT llm_service_instances_api_standard_fkey TO llm_services_api_standard_fkey;
ALTER TABLE llm_service_instances RENAME CONSTRAINT llm_service_instances_owner_fkey TO llm_services_owner_fkey;
ALTER TABLE llm_service_instances RENAME CONSTRAINT llm_service_instances_pkey TO llm_services_pkey;
ALTER TABLE llm_service_instances RENAME COLUMN instance_handle TO llm_service_handle;
ALTER TABLE llm_service_instances RENAME COLUMN instance_id TO llm_service_id;
ALTER TABLE llm_service_instances RENAME TO llm_services;

DROP TABLE llm_service_definitions_shared_with;
DROP TABLE llm_service_definitions;

ALTER TABLE api_standards
    ALTER COLUMN api_standard_handle TYPE varchar(20),
    ALTER COLUMN key_field TYPE varchar(20),
    ALTER COLUMN created_at DROP DEFAULT, ALTER COLUMN updated_at DROP DEFAULT,
    ALTER COLUMN created_at TYPE timestamp, ALTER COLUMN updated_at TYPE timestamp,
    ALTER COLUMN created_at SET DEFAULT (now() AT TIME ZONE 'UTC'),
    ALTER COLUMN updated_at SET DEFAULT (now() AT TIME ZONE 'UTC');

DELETE FROM users WHERE user_handle = '_system';

ALTER TABLE users
    ALTER COLUMN user_handle TYPE varchar(20),
    ALTER COLUMN created_at DROP DEFAULT, ALTER COLUMN updated_at DROP DEFAULT,
    ALTER COLUMN created_at TYPE timestamp, ALTER COLUMN updated_at TYPE timestamp,
    ALTER COLUMN created_at SET DEFAULT (now() AT TIME ZONE 'UTC'),
    ALTER COLUMN updated_at SET DEFAULT (now() AT TIME ZONE 'UTC');

DO $$
BEGIN
    IF to_regclass(format('%I.db_version', current_schema())) IS NOT NULL THEN
        UPDATE db_version SET version = 3;
    END IF;
END
$$;
