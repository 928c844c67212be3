-- The vector extension stays: other schemas of the database may use it.
DROP TABLE embeddings;
DROP TABLE projects_llm_services;
DROP TABLE users_llm_services;
DROP TABLE llm_services;
DROP TABLE api_standards;
DROP TABLE key_methods;
DROP TABLE users_projects;
DROP TABLE projects;
DROP TABLE vdb_roles;
DROP TABLE users;
-- Of this schema only: another one may hold a database of the original system.
DO $$
BEGIN
    EXECUTE format('DROP TABLE IF EXISTS %I.db_version', current_schema());
END
$$;
