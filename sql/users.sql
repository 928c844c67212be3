-- Users and their keys. Only the SHA-256 of a key is stored.

-- name: AuthenticateUser :one
-- The duration of the look-up reveals nothing about the key, because it compares hashes.
SELECT (SELECT user_handle::text FROM users WHERE vdb_key = @key_hash::text) AS caller,
       EXISTS (SELECT FROM users WHERE user_handle = @named::text) AS named_exists;

-- name: LockOwners :exec
-- For the lock order, and the reason for a separate statement, see service/storage/locks.py.
SELECT pg_advisory_xact_lock(hashtextextended(handle, 0))
  FROM (SELECT handle FROM unnest(@user_handles::text[]) AS handle ORDER BY handle COLLATE "C") AS in_order;

-- name: UpsertUser :one
-- Users are locked before. Otherwise the loser of a race might violate the uniqueness of the e-mail address, which ON
-- CONFLICT does not handle.
INSERT INTO users (user_handle, email, name, vdb_key)
VALUES (@user_handle::text, @email::text, @name::text, @key_hash::text)
ON CONFLICT (user_handle) DO UPDATE
   SET email = excluded.email, name = excluded.name, updated_at = now()
RETURNING vdb_key = @key_hash::text AS created;

-- name: RetrieveTakenNames :one
-- Current names of the user are accepted: an original database may have names that differ in case only.
SELECT NOT EXISTS (SELECT FROM users WHERE user_handle = @user_handle::text)
       AND (lower(@user_handle::text) IN ('admin', 'public')
            OR EXISTS (SELECT FROM users WHERE lower(user_handle) = lower(@user_handle::text))) AS handle,
       NOT EXISTS (SELECT FROM users WHERE user_handle = @user_handle::text AND lower(email) = lower(@email::text))
       AND EXISTS (SELECT FROM users WHERE lower(email) = lower(@email::text)) AS email;

-- name: ReplaceUserKey :one
UPDATE users
   SET vdb_key = @key_hash::text, updated_at = now()
 WHERE user_handle = @user_handle::text AND user_handle <> '_system'
RETURNING user_handle;

-- name: GetAllUsers :many
SELECT user_handle
  FROM users
 WHERE strpos(lower(user_handle), lower(@search::text)) > 0
 ORDER BY user_handle
 LIMIT @max_rows::int OFFSET @skip::bigint;

-- name: RetrieveUser :one
SELECT users.user_handle, users.email,
       (SELECT coalesce(jsonb_agg(jsonb_build_object(
                   'project_handle', project.project_handle, 'owner', project.owner, 'role', access.role)
                   ORDER BY project.owner, project.project_handle), '[]')
          FROM project_access AS access
          JOIN projects AS project USING (project_id)
         WHERE access.user_handle = users.user_handle) AS projects,
       (SELECT coalesce(jsonb_agg(jsonb_build_object(
                   'definition_handle', definition.definition_handle, 'owner', definition.owner)
                   ORDER BY definition.owner, definition.definition_handle), '[]')
          FROM definition_access AS access
          JOIN llm_service_definitions AS definition USING (definition_id)
         WHERE access.user_handle = users.user_handle AND access.role <> 'public') AS definitions,
       (SELECT coalesce(jsonb_agg(jsonb_build_object(
                   'instance_handle', instance.instance_handle, 'owner', instance.owner, 'role', access.role)
                   ORDER BY instance.owner, instance.instance_handle), '[]')
          FROM instance_access AS access
          JOIN llm_service_instances AS instance USING (instance_id)
         WHERE access.user_handle = users.user_handle) AS instances,
       users.name
  FROM users
 WHERE users.user_handle = @user_handle::text;

-- name: LockInstancesOfUser :exec
-- In the same order as storing a project: instances before shares.
WITH instance AS (
    SELECT instance_id FROM llm_service_instances
     WHERE owner = @user_handle::text
     ORDER BY instance_id
       FOR UPDATE
)
SELECT FROM projects
 WHERE llm_service_instance_id IN (SELECT instance_id FROM instance)
 ORDER BY project_id
   FOR KEY SHARE;

-- name: DeleteUser :one
DELETE FROM users
 WHERE user_handle = @user_handle::text AND user_handle <> '_system'
RETURNING user_handle;

-- name: LockUser :one
SELECT jsonb_build_object('user_handle', user_handle, 'email', email, 'name', name)
  FROM users
 WHERE user_handle = @user_handle::text AND user_handle <> '_system'
   FOR UPDATE;
