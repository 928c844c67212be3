-- Instances: a user's own services, with the sealed key of their provider.

-- name: UpsertLLMInstance :one
-- Creates an instance, or replaces the one of the same owner and handle. The stored key stays unless
-- change_key says otherwise. FitTablesOfInstance comes next.
INSERT INTO llm_service_instances AS instance
    (owner, instance_handle, endpoint, description, api_standard, model, dimensions, context_limit,
     definition_id, api_key_encrypted, api_key_sealed_by)
VALUES (@owner::text, @instance_handle::text, @endpoint::text, @description::text, @api_standard::text,
        @model::text, @dimensions::int, @context_limit::int, @definition_id::int, @api_key_encrypted::bytea,
        @api_key_sealed_by::text)
ON CONFLICT (owner, instance_handle) DO UPDATE
   SET endpoint = excluded.endpoint, description = excluded.description,
       api_standard = excluded.api_standard, model = excluded.model, dimensions = excluded.dimensions,
       context_limit = excluded.context_limit,
       definition_id = coalesce(excluded.definition_id, instance.definition_id), updated_at = now(),
       api_key_encrypted = CASE WHEN @change_key::bool THEN excluded.api_key_encrypted
                                ELSE instance.api_key_encrypted END,
       api_key_sealed_by = CASE WHEN @change_key::bool THEN excluded.api_key_sealed_by
                                ELSE instance.api_key_sealed_by END,
       -- A plaintext key of the original system is older than the one that is set here.
       api_key = CASE WHEN NOT @change_key::bool THEN instance.api_key END
RETURNING instance.owner, instance.instance_handle, instance.instance_id;

-- name: FitTablesOfInstance :exec
-- Gives the empty projects of an instance its number of dimensions; one that holds embeddings refuses another number
-- (projects_dimensions_fixed). Projects are locked first, so that none of their tables is dropped meanwhile.
WITH project AS MATERIALIZED (
    SELECT project.project_id, instance.dimensions
      FROM llm_service_instances AS instance
      JOIN projects AS project ON project.llm_service_instance_id = instance.instance_id
     WHERE instance.instance_id = @instance_id::int
     ORDER BY project.project_id
       FOR KEY SHARE OF project
)
SELECT fit_embeddings_partition(project_id, dimensions) FROM project;

-- name: GetLLMInstancesByUser :many
-- The user's own instances and those shared with the user; never both, as an owner has no share.
SELECT instance.owner, instance.instance_handle, instance.instance_id, access.role AS access_role
  FROM instance_access AS access
  JOIN llm_service_instances AS instance USING (instance_id)
 WHERE access.user_handle = @user_handle::text
 ORDER BY instance.owner, instance.instance_handle
 LIMIT @max_rows::int OFFSET @skip::bigint;

-- name: RetrieveLLMInstanceRole :one
-- What the caller may do with an instance: 'owner', 'editor' or 'reader'; no row when nothing.
SELECT access.role
  FROM llm_service_instances AS instance
  JOIN instance_access AS access USING (instance_id)
 WHERE instance.owner = @owner::text AND instance.instance_handle = @instance_handle::text
   AND access.user_handle = @caller::text;

-- name: RetrieveLLMInstanceModel :one
-- What is needed to call it.
SELECT instance.owner || '/' || instance.instance_handle AS instance, standard.dialect, instance.model AS name,
       instance.dimensions
  FROM llm_service_instances AS instance
  JOIN api_standards AS standard ON standard.api_standard_handle = instance.api_standard
 WHERE instance.owner = @owner::text AND instance.instance_handle = @instance_handle::text;

-- name: RetrieveLLMInstance :one
-- All but the key itself. Only the owner and the admin see whom it is shared with.
SELECT instance.owner, instance.instance_handle, instance.instance_id, @role::text AS access_role,
       instance.api_standard, instance.dimensions,
       instance.api_key_encrypted IS NOT NULL OR instance.api_key IS NOT NULL AS has_api_key,
       instance.endpoint, instance.description, instance.model, instance.context_limit,
       instance.definition_id, definition.owner AS definition_owner, definition.definition_handle,
       CASE WHEN @role::text IN ('owner', 'admin') THEN (
           SELECT coalesce(jsonb_agg(jsonb_build_object('user_handle', share.user_handle, 'role', share.role)
                                     ORDER BY share.user_handle), '[]')
             FROM llm_service_instances_shared_with AS share
            WHERE share.instance_id = instance.instance_id) END AS shared_with
  FROM llm_service_instances AS instance
  LEFT JOIN llm_service_definitions AS definition USING (definition_id)
 WHERE instance.owner = @owner::text AND instance.instance_handle = @instance_handle::text;

-- name: DeleteLLMInstance :one
DELETE FROM llm_service_instances
 WHERE owner = @owner::text AND instance_handle = @instance_handle::text
RETURNING instance_id;

-- name: LockLLMInstance :one
-- As the body of a PUT without the key, and locked until the end of the transaction.
SELECT jsonb_build_object(
           'instance_handle', instance_handle, 'dimensions', dimensions, 'endpoint', endpoint,
           'description', description, 'api_standard', api_standard, 'model', model,
           'context_limit', context_limit)
  FROM llm_service_instances
 WHERE owner = @owner::text AND instance_handle = @instance_handle::text
   FOR UPDATE;

-- name: ShareLLMInstance :one
-- No row when there is no such instance. Sharing again changes the role.
INSERT INTO llm_service_instances_shared_with (user_handle, instance_id, role)
SELECT @user_handle::text, instance_id, @role::text
  FROM (SELECT instance_id FROM llm_service_instances
         WHERE owner = @owner::text AND instance_handle = @instance_handle::text
           FOR KEY SHARE) AS instance
    ON CONFLICT (user_handle, instance_id) DO UPDATE SET role = excluded.role, updated_at = now()
RETURNING instance_id;

-- name: UnshareLLMInstance :one
DELETE FROM llm_service_instances_shared_with AS share
 USING llm_service_instances AS instance
 WHERE instance.owner = @owner::text AND instance.instance_handle = @instance_handle::text
   AND share.instance_id = instance.instance_id AND share.user_handle = @user_handle::text
RETURNING share.instance_id;
