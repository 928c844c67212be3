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
DROP TABLE IF EXISTS db_version;
