-- The first schema of the original system (dhamps-vdb): users, projects, LLM services, embeddings.
-- Constraint names are those PostgreSQL gives by default, written out because later migrations
-- and the error messages refer to them.

CREATE EXTENSION IF NOT EXISTS vector;

CREATE TABLE users (
    user_handle varchar(20) CONSTRAINT users_pkey PRIMARY KEY,
    name        text,
    email       text NOT NULL CONSTRAINT users_email_key UNIQUE,
    vdb_key     char(64) NOT NULL CONSTRAINT users_vdb_key_key UNIQUE,
    created_at  timestamp NOT NULL DEFAULT (now() AT TIME ZONE 'UTC'),
    updated_at  timestamp NOT NULL DEFAULT (now() AT TIME ZONE 'UTC')
);

CREATE TABLE vdb_roles (
    vdb_role varchar(20) CONSTRAINT vdb_roles_pkey PRIMARY KEY
);

INSERT INTO vdb_roles (vdb_role) VALUES ('owner'), ('editor'), ('reader');

CREATE TABLE projects (
    project_id      serial CONSTRAINT projects_pkey PRIMARY KEY,
    project_handle  varchar(20) NOT NULL,
    owner           varchar(20) NOT NULL
        CONSTRAINT projects_owner_fkey REFERENCES users ON DELETE CASCADE,
    description     text,
    metadata_scheme text,
    created_at      timestamp NOT NULL DEFAULT (now() AT TIME ZONE 'UTC'),
    updated_at      timestamp NOT NULL DEFAULT (now() AT TIME ZONE 'UTC'),
    CONSTRAINT projects_owner_project_handle_key UNIQUE (owner, project_handle)
);

CREATE TABLE users_projects (
    user_handle varchar(20) NOT NULL
        CONSTRAINT users_projects_user_handle_fkey REFERENCES users ON DELETE CASCADE,
    project_id  serial NOT NULL
        CONSTRAINT users_projects_project_id_fkey REFERENCES projects ON DELETE CASCADE,
    role        varchar(20) NOT NULL CONSTRAINT users_projects_role_fkey REFERENCES vdb_roles,
    created_at  timestamp NOT NULL DEFAULT (now() AT TIME ZONE 'UTC'),
    updated_at  timestamp NOT NULL DEFAULT (now() AT TIME ZONE 'UTC'),
    CONSTRAINT users_projects_pkey PRIMARY KEY (user_handle, project_id)
);

CREATE TABLE key_methods (
    key_method varchar(20) CONSTRAINT key_methods_pkey PRIMARY KEY
);

INSERT INTO key_methods (key_method) VALUES ('auth_bearer'), ('body_form'), ('query_param'), ('custom_header');

CREATE TABLE api_standards (
    api_standard_handle varchar(20) CONSTRAINT api_standards_pkey PRIMARY KEY,
    description         text,
    key_method          varchar(20) NOT NULL
        CONSTRAINT api_standards_key_method_fkey REFERENCES key_methods,
    key_field           varchar(20),
    created_at          timestamp NOT NULL DEFAULT (now() AT TIME ZONE 'UTC'),
    updated_at          timestamp NOT NULL DEFAULT (now() AT TIME ZONE 'UTC')
);

CREATE TABLE llm_services (
    llm_service_id     serial CONSTRAINT llm_services_pkey PRIMARY KEY,
    llm_service_handle varchar(20) NOT NULL,
    owner              varchar(20) NOT NULL
        CONSTRAINT llm_services_owner_fkey REFERENCES users ON DELETE CASCADE,
    endpoint           text NOT NULL,
    description        text,
    api_standard       varchar(20) NOT NULL
        CONSTRAINT llm_services_api_standard_fkey REFERENCES api_standards,
    model              text NOT NULL,
    dimensions         integer NOT NULL,
    created_at         timestamp NOT NULL DEFAULT (now() AT TIME ZONE 'UTC'),
    updated_at         timestamp NOT NULL DEFAULT (now() AT TIME ZONE 'UTC'),
    CONSTRAINT llm_services_owner_llm_service_handle_key UNIQUE (owner, llm_service_handle)
);

CREATE TABLE users_llm_services (
    user_handle    varchar(20) NOT NULL
        CONSTRAINT users_llm_services_user_handle_fkey REFERENCES users ON DELETE CASCADE,
    llm_service_id integer NOT NULL
        CONSTRAINT users_llm_services_llm_service_id_fkey REFERENCES llm_services ON DELETE CASCADE,
    role           varchar(20) NOT NULL CONSTRAINT users_llm_services_role_fkey REFERENCES vdb_roles,
    created_at     timestamp NOT NULL DEFAULT (now() AT TIME ZONE 'UTC'),
    updated_at     timestamp NOT NULL DEFAULT (now() AT TIME ZONE 'UTC'),
    CONSTRAINT users_llm_services_pkey PRIMARY KEY (user_handle, llm_service_id)
);

CREATE TABLE projects_llm_services (
    project_id     integer NOT NULL
        CONSTRAINT projects_llm_services_project_id_fkey REFERENCES projects ON DELETE CASCADE,
    llm_service_id integer NOT NULL
        CONSTRAINT projects_llm_services_llm_service_id_fkey REFERENCES llm_services ON DELETE CASCADE,
    created_at     timestamp NOT NULL DEFAULT (now() AT TIME ZONE 'UTC'),
    updated_at     timestamp NOT NULL DEFAULT (now() AT TIME ZONE 'UTC'),
    CONSTRAINT projects_llm_services_pkey PRIMARY KEY (project_id, llm_service_id)
);

CREATE TABLE embeddings (
    embeddings_id  serial CONSTRAINT embeddings_pkey PRIMARY KEY,
    text_id        text,
    owner          varchar(20) NOT NULL
        CONSTRAINT embeddings_owner_fkey REFERENCES users ON DELETE CASCADE,
    project_id     integer NOT NULL
        CONSTRAINT embeddings_project_id_fkey REFERENCES projects ON DELETE CASCADE,
    llm_service_id integer NOT NULL
        CONSTRAINT embeddings_llm_service_id_fkey REFERENCES llm_services,
    text           text,
    vector         halfvec NOT NULL,
    vector_dim     integer NOT NULL,
    metadata       jsonb,
    created_at     timestamp NOT NULL DEFAULT (now() AT TIME ZONE 'UTC'),
    updated_at     timestamp NOT NULL DEFAULT (now() AT TIME ZONE 'UTC'),
    CONSTRAINT embeddings_text_id_owner_project_id_llm_service_id_key
        UNIQUE (text_id, owner, project_id, llm_service_id)
);

CREATE INDEX embeddings_text_id ON embeddings (text_id);

INSERT INTO api_standards (api_standard_handle, description, key_method, key_field) VALUES
    ('openai', 'OpenAI embeddings API', 'auth_bearer', 'Authorization'),
    ('cohere', 'Cohere embed API', 'auth_bearer', 'Authorization'),
    ('gemini', 'Google Gemini embeddings API', 'custom_header', 'x-goog-api-key');
