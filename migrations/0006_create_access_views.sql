-- Access to each kind of resource, decided in one place.

CREATE VIEW project_access AS
SELECT project_id, owner AS user_handle, 'owner'::text AS role FROM projects
 UNION ALL
SELECT project_id, user_handle, role::text FROM users_projects;

CREATE VIEW instance_access AS
SELECT instance_id, owner AS user_handle, 'owner'::text AS role FROM llm_service_instances
 UNION ALL
SELECT instance_id, user_handle, role::text FROM llm_service_instances_shared_with;

-- 'public': any user may read it, and make instances from it, but it is not in their lists.
CREATE VIEW definition_access AS
SELECT definition_id, owner AS user_handle, 'owner'::text AS role FROM llm_service_definitions
 UNION ALL
SELECT definition_id, user_handle, 'reader'::text FROM llm_service_definitions_shared_with
 UNION ALL
SELECT definition.definition_id, users.user_handle, 'public'::text
  FROM llm_service_definitions AS definition CROSS JOIN users
 WHERE definition.is_public;
