-- Definitions: templates for instances. Those of _system are built in.

-- name: GetLLMDefinitionsByUser :many
-- Their own, those of _system, and those they have been given; each once.
SELECT definition.definition_id, definition.definition_handle, definition.owner, definition.is_public
  FROM llm_service_definitions AS definition
 WHERE definition.owner = '_system'
    OR EXISTS (SELECT FROM definition_access AS access
                WHERE access.definition_id = definition.definition_id
                  AND access.user_handle = @user_handle::text AND access.role <> 'public')
 ORDER BY definition.owner, definition.definition_handle
 LIMIT @max_rows::int OFFSET @skip::bigint;

-- name: RetrieveLLMDefinitionRole :one
-- What the caller may do with a definition: 'owner', 'reader' or 'public'; no row when nothing.
SELECT min(access.role)
  FROM llm_service_definitions AS definition
  JOIN definition_access AS access USING (definition_id)
 WHERE definition.owner = @owner::text AND definition.definition_handle = @definition_handle::text
   AND access.user_handle = @caller::text
HAVING count(*) > 0;

-- name: RetrieveLLMDefinition :one
SELECT definition_id, definition_handle, owner, api_standard, is_public,
       endpoint, description, model, dimensions, context_limit
  FROM llm_service_definitions
 WHERE owner = @owner::text AND definition_handle = @definition_handle::text;
