-- Definitions: templates for instances. The definitions of _system are built in.

-- name: GetLLMDefinitionsByUser :many
SELECT definition.definition_id, definition.definition_handle, definition.owner, definition.is_public
  FROM llm_service_definitions AS definition
 WHERE definition.owner = '_system'
    OR EXISTS (SELECT FROM definition_access AS access
                WHERE access.definition_id = definition.definition_id
                  AND access.user_handle = @user_handle::text AND access.role <> 'public')
 ORDER BY definition.owner, definition.definition_handle
 LIMIT @max_rows::int OFFSET @skip::bigint;

-- name: GetAllLLMDefinitions :many
SELECT definition.definition_id, definition.definition_handle, definition.owner, definition.is_public
  FROM llm_service_definitions AS definition
 WHERE @caller::text IS NULL OR definition.owner = '_system'
    OR EXISTS (SELECT FROM definition_access AS access
                WHERE access.definition_id = definition.definition_id AND access.user_handle = @caller::text)
 ORDER BY definition.owner, definition.definition_handle
 LIMIT @max_rows::int OFFSET @skip::bigint;

-- name: GetSystemLLMDefinitions :many
SELECT definition_id, definition_handle, owner, is_public
  FROM llm_service_definitions
 WHERE owner = '_system'
 ORDER BY definition_handle
 LIMIT @max_rows::int OFFSET @skip::bigint;

-- name: RetrieveLLMDefinitionRole :one
SELECT min(access.role)
  FROM llm_service_definitions AS definition
  JOIN definition_access AS access USING (definition_id)
 WHERE definition.owner = @owner::text AND definition.definition_handle = @definition_handle::text
   AND access.user_handle = @caller::text
HAVING count(*) > 0;

-- name: RetrieveLLMDefinition :one
SELECT definition_id, definition_handle, owner, is_public, api_standard,
       endpoint, description, model, dimensions, context_limit
  FROM llm_service_definitions AS definition
 WHERE owner = @owner::text AND definition_handle = @definition_handle::text
   AND (@usable_by::text IS NULL OR owner = '_system'
        OR EXISTS (SELECT FROM definition_access AS access
                    WHERE access.definition_id = definition.definition_id AND access.user_handle = @usable_by::text));

-- name: UpsertLLMDefinition :one
INSERT INTO llm_service_definitions
    (owner, definition_handle, endpoint, description, api_standard, model, dimensions, context_limit, is_public)
VALUES (@owner::text, @definition_handle::text, @endpoint::text, @description::text, @api_standard::text,
        @model::text, @dimensions::int, @context_limit::int,
        coalesce(@is_public::bool, false))
ON CONFLICT (owner, definition_handle) DO UPDATE
   SET endpoint = excluded.endpoint, description = excluded.description, api_standard = excluded.api_standard,
       model = excluded.model, dimensions = excluded.dimensions, context_limit = excluded.context_limit,
       is_public = excluded.is_public, updated_at = now()
RETURNING definition_id, definition_handle, owner, is_public;

-- name: LockLLMDefinition :one
SELECT to_jsonb(definition)
  FROM llm_service_definitions AS definition
 WHERE owner = @owner::text AND definition_handle = @definition_handle::text
   FOR UPDATE;

-- name: DeleteLLMDefinition :one
DELETE FROM llm_service_definitions
 WHERE owner = @owner::text AND definition_handle = @definition_handle::text
RETURNING definition_id;

-- name: ShareLLMDefinition :one
-- DO UPDATE, because DO NOTHING would return no row for an existing share.
INSERT INTO llm_service_definitions_shared_with AS share (user_handle, definition_id)
SELECT @user_handle::text, definition_id
  FROM (SELECT definition_id FROM llm_service_definitions
         WHERE owner = @owner::text AND definition_handle = @definition_handle::text
           FOR KEY SHARE) AS definition
    ON CONFLICT (user_handle, definition_id) DO UPDATE SET created_at = share.created_at
RETURNING definition_id;

-- name: UnshareLLMDefinition :one
DELETE FROM llm_service_definitions_shared_with AS share
 USING llm_service_definitions AS definition
 WHERE definition.owner = @owner::text AND definition.definition_handle = @definition_handle::text
   AND share.definition_id = definition.definition_id AND share.user_handle = @user_handle::text
RETURNING share.definition_id;

-- name: GetSharedUsersForDefinition :one
SELECT (SELECT coalesce(jsonb_agg(share.user_handle ORDER BY share.user_handle), '[]')
          FROM llm_service_definitions_shared_with AS share
         WHERE share.definition_id = definition.definition_id)
  FROM llm_service_definitions AS definition
 WHERE definition.owner = @owner::text AND definition.definition_handle = @definition_handle::text;
