-- Instances: users' configured models, with the encrypted key of their provider.

-- name: UpsertLLMInstance :one
INSERT INTO llm_service_instances AS instance
    (owner, instance_handle, endpoint, description, api_standard, model, dimensions, context_limit,
     definition_id, tokens_per_day, tokens_per_month, requests_per_minute, expires_at,
     api_key_encrypted, api_key_sealed_by)
VALUES (@owner::text, @instance_handle::text, @endpoint::text, @description::text, @api_standard::text,
        @model::text, @dimensions::int, @context_limit::int, @definition_id::int, @tokens_per_day::bigint,
        @tokens_per_month::bigint, @requests_per_minute::int, @expires_at::timestamptz,
        @api_key_encrypted::bytea, @api_key_sealed_by::text)
ON CONFLICT (owner, instance_handle) DO UPDATE
   SET endpoint = excluded.endpoint, description = excluded.description,
       api_standard = excluded.api_standard, model = excluded.model, dimensions = excluded.dimensions,
       context_limit = excluded.context_limit,
       definition_id = coalesce(excluded.definition_id, instance.definition_id), updated_at = now(),
       tokens_per_day = excluded.tokens_per_day, tokens_per_month = excluded.tokens_per_month,
       requests_per_minute = excluded.requests_per_minute, expires_at = excluded.expires_at,
       api_key_encrypted = CASE WHEN @change_key::bool THEN excluded.api_key_encrypted
                                ELSE instance.api_key_encrypted END,
       api_key_sealed_by = CASE WHEN @change_key::bool THEN excluded.api_key_sealed_by
                                ELSE instance.api_key_sealed_by END,
       -- A plaintext key of the original system is older than the one that is set here.
       api_key = CASE WHEN NOT @change_key::bool THEN instance.api_key END
RETURNING instance.owner, instance.instance_handle, instance.instance_id;

-- name: FitTablesOfInstance :exec
-- Projects are locked first, so that none of their tables is dropped meanwhile.
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
-- Without duplicates: an owner has no share.
SELECT instance.owner, instance.instance_handle, instance.instance_id, access.role AS access_role,
       instance.api_standard, instance.dimensions,
       instance.api_key_encrypted IS NOT NULL OR instance.api_key IS NOT NULL AS has_api_key,
       instance.description, instance.model
  FROM instance_access AS access
  JOIN llm_service_instances AS instance USING (instance_id)
 WHERE access.user_handle = @user_handle::text
 ORDER BY instance.owner, instance.instance_handle
 LIMIT @max_rows::int OFFSET @skip::bigint;

-- name: GetSharedLLMInstances :many
SELECT instance.owner, instance.instance_handle, instance.instance_id, access.role AS access_role,
       instance.api_standard, instance.dimensions,
       instance.api_key_encrypted IS NOT NULL OR instance.api_key IS NOT NULL AS has_api_key,
       instance.description, instance.model
  FROM instance_access AS access
  JOIN llm_service_instances AS instance USING (instance_id)
 WHERE access.user_handle = @user_handle::text AND access.role <> 'owner'
 ORDER BY instance.owner, instance.instance_handle
 LIMIT @max_rows::int OFFSET @skip::bigint;

-- name: RetrieveLLMInstanceRole :one
SELECT access.role
  FROM llm_service_instances AS instance
  JOIN instance_access AS access USING (instance_id)
 WHERE instance.owner = @owner::text AND instance.instance_handle = @instance_handle::text
   AND access.user_handle = @caller::text;

-- name: RetrieveLLMInstanceByID :one
SELECT instance.instance_id, instance.owner, instance.instance_handle, standard.dialect, standard.key_method,
       standard.key_field, instance.endpoint, instance.model AS name, instance.dimensions,
       instance.api_key_encrypted AS sealed_key, instance.api_key_sealed_by AS sealed_by,
       instance.api_key AS plaintext_key,
       EXISTS (SELECT FROM instance_access AS access
                WHERE access.instance_id = instance.instance_id AND access.user_handle = @holder::text) AS is_usable,
       EXISTS (SELECT FROM llm_service_instances_shared_with AS share
                WHERE share.instance_id = instance.instance_id AND share.user_handle = @holder::text
                  AND num_nonnulls(share.tokens_per_day, share.tokens_per_month, share.requests_per_minute) > 0)
       OR num_nonnulls(instance.tokens_per_day, instance.tokens_per_month, instance.requests_per_minute,
                       instance.expires_at) > 0 AS is_limited
  FROM llm_service_instances AS instance
  JOIN api_standards AS standard ON standard.api_standard_handle = instance.api_standard
 WHERE instance.instance_id = @instance_id::int;

-- name: RetrieveLLMInstance :one
SELECT instance.owner, instance.instance_handle, instance.instance_id, @role::text AS access_role,
       instance.api_standard, instance.dimensions,
       instance.api_key_encrypted IS NOT NULL OR instance.api_key IS NOT NULL AS has_api_key,
       instance.description, instance.model, instance.endpoint, instance.context_limit,
       instance.definition_id, definition.owner AS definition_owner, definition.definition_handle,
       instance.tokens_per_day, instance.tokens_per_month, instance.requests_per_minute, instance.expires_at,
       CASE WHEN @role::text IN ('owner', 'admin') THEN (
           SELECT coalesce(jsonb_agg(to_jsonb(share) ORDER BY share.user_handle), '[]')
             FROM llm_service_instances_shared_with AS share
            WHERE share.instance_id = instance.instance_id) END AS shared_with
  FROM llm_service_instances AS instance
  LEFT JOIN llm_service_definitions AS definition USING (definition_id)
 WHERE instance.owner = @owner::text AND instance.instance_handle = @instance_handle::text;

-- name: GetLLMInstancesByProject :one
SELECT instance.owner, instance.instance_handle, instance.model, instance.dimensions, instance.api_standard,
       standard.dialect IS NOT NULL
           AND (standard.dialect = 'local' OR (instance.endpoint <> '' AND instance.model <> '') IS TRUE)
           AND EXISTS (
               SELECT FROM instance_access AS access
                WHERE access.instance_id = instance.instance_id AND access.user_handle = project.owner) AS can_embed,
       project.text_search
  FROM projects AS project
  JOIN llm_service_instances AS instance ON instance.instance_id = project.llm_service_instance_id
  JOIN api_standards AS standard ON standard.api_standard_handle = instance.api_standard
 WHERE project.project_id = @project_id::int;

-- name: DeleteLLMInstance :one
DELETE FROM llm_service_instances
 WHERE owner = @owner::text AND instance_handle = @instance_handle::text
RETURNING instance_id;

-- name: LockLLMInstance :one
SELECT jsonb_build_object(
           'instance_handle', instance_handle, 'dimensions', dimensions, 'endpoint', endpoint,
           'description', description, 'api_standard', api_standard, 'model', model,
           'context_limit', context_limit, 'tokens_per_day', tokens_per_day, 'tokens_per_month', tokens_per_month,
           'requests_per_minute', requests_per_minute, 'expires_at', expires_at)
  FROM llm_service_instances
 WHERE owner = @owner::text AND instance_handle = @instance_handle::text
   FOR UPDATE;

-- name: LockInstanceShare :one
SELECT jsonb_build_object(
           'role', share.role, 'tokens_per_day', share.tokens_per_day, 'tokens_per_month', share.tokens_per_month,
           'requests_per_minute', share.requests_per_minute, 'expires_at', share.expires_at)
  FROM llm_service_instances AS instance
  JOIN llm_service_instances_shared_with AS share USING (instance_id)
 WHERE instance.owner = @owner::text AND instance.instance_handle = @instance_handle::text
   AND share.user_handle = @user_handle::text
   FOR UPDATE OF share;

-- name: LinkUserToLLMInstance :one
INSERT INTO llm_service_instances_shared_with
    (user_handle, instance_id, role, tokens_per_day, tokens_per_month, requests_per_minute, expires_at)
SELECT @user_handle::text, instance_id, @role::text, @tokens_per_day::bigint, @tokens_per_month::bigint,
       @requests_per_minute::int, @expires_at::timestamptz
  FROM (SELECT instance_id FROM llm_service_instances
         WHERE owner = @owner::text AND instance_handle = @instance_handle::text
           FOR KEY SHARE) AS instance
    ON CONFLICT (user_handle, instance_id) DO UPDATE
       SET role = excluded.role, tokens_per_day = excluded.tokens_per_day,
           tokens_per_month = excluded.tokens_per_month, requests_per_minute = excluded.requests_per_minute,
           expires_at = excluded.expires_at, updated_at = now()
RETURNING instance_id;

-- name: UnshareLLMInstance :one
DELETE FROM llm_service_instances_shared_with AS share
 USING llm_service_instances AS instance
 WHERE instance.owner = @owner::text AND instance.instance_handle = @instance_handle::text
   AND share.instance_id = instance.instance_id AND share.user_handle = @user_handle::text
RETURNING share.instance_id;
