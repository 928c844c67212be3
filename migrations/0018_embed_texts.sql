-- Instances that the service can call: how their standard is spoken. Null: the instance is stored, and used elsewhere.
ALTER TABLE api_standards
    ADD COLUMN dialect text CONSTRAINT api_standards_dialect_check CHECK (dialect IN ('local'));

INSERT INTO api_standards (api_standard_handle, description, key_method, key_field, dialect)
VALUES ('local', 'Models inside this service. They need no key, and no endpoint.', 'auth_bearer', 'Authorization', 'local')
    ON CONFLICT (api_standard_handle) DO NOTHING;

INSERT INTO llm_service_definitions (definition_handle, owner, endpoint, description, api_standard, model, dimensions,
                                     is_public)
VALUES ('local-small', '_system', NULL, 'A small model of English texts inside this service (WordLlama).', 'local',
        'l2-supercat-256', 256, true)
    ON CONFLICT (owner, definition_handle) DO NOTHING;

-- Who may search a project with texts, which its instance embeds: its editors, all its readers, or everybody who may
-- read it.
ALTER TABLE projects
    ADD COLUMN text_search text NOT NULL DEFAULT 'editors'
        CONSTRAINT projects_text_search_check CHECK (text_search IN ('editors', 'readers', 'public'));
