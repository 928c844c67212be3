-- The providers' keys as a whole: which key sealed them, and sealing them anew. Pages go by instance_id.

-- name: GetSealedKeys :many
SELECT instance_id, owner, instance_handle, api_key_encrypted AS blob, api_key_sealed_by AS key_id
  FROM llm_service_instances
 WHERE instance_id > @after::int AND api_key_encrypted IS NOT NULL
 ORDER BY instance_id
 LIMIT @max_rows::int;

-- name: CountSealedKeys :many
-- By the key that sealed them, null for those of the original system.
SELECT api_key_sealed_by AS key_id, count(*) AS sealed
  FROM llm_service_instances
 WHERE api_key_encrypted IS NOT NULL
 GROUP BY api_key_sealed_by
 ORDER BY api_key_sealed_by NULLS FIRST;

-- name: GetKeysToRotate :many
-- Those that another key sealed, or an unknown one.
SELECT instance_id, owner, instance_handle, api_key_encrypted AS blob, api_key_sealed_by AS key_id
  FROM llm_service_instances
 WHERE instance_id > @after::int AND api_key_encrypted IS NOT NULL
   AND api_key_sealed_by IS DISTINCT FROM @key_id::text
 ORDER BY instance_id
 LIMIT @max_rows::int;

-- name: ResealKeys :execrows
-- Exchanges blobs. One that has changed since it was read is left alone: its owner has set another key. An
-- exchange is not a change of the instance, so updated_at stays.
UPDATE llm_service_instances AS instance
   SET api_key_encrypted = sealed.blob, api_key_sealed_by = @key_id::text
  FROM unnest(@instance_ids::int[], @old_blobs::bytea[], @blobs::bytea[]) AS sealed (instance_id, old_blob, blob)
 WHERE instance.instance_id = sealed.instance_id AND instance.api_key_encrypted = sealed.old_blob;

-- name: DiscardKeys :execrows
-- Removes keys, but for those that have changed since they were read.
UPDATE llm_service_instances AS instance
   SET api_key_encrypted = NULL, api_key_sealed_by = NULL
  FROM unnest(@instance_ids::int[], @old_blobs::bytea[]) AS sealed (instance_id, old_blob)
 WHERE instance.instance_id = sealed.instance_id AND instance.api_key_encrypted = sealed.old_blob;

-- name: CountPlaintextKeys :one
SELECT count(*) FROM llm_service_instances WHERE api_key IS NOT NULL;

-- name: GetPlaintextKeys :many
SELECT instance_id, owner, instance_handle, api_key
  FROM llm_service_instances
 WHERE instance_id > @after::int AND api_key IS NOT NULL
 ORDER BY instance_id
 LIMIT @max_rows::int;

-- name: SealPlaintextKeys :execrows
-- A sealed key that is there already is newer than the plaintext one, and stays. NULL: there was nothing to seal.
UPDATE llm_service_instances AS instance
   SET api_key_encrypted = coalesce(instance.api_key_encrypted, sealed.blob),
       api_key_sealed_by = CASE WHEN instance.api_key_encrypted IS NULL AND sealed.blob IS NOT NULL THEN @key_id::text
                                ELSE instance.api_key_sealed_by END,
       api_key = NULL
  FROM unnest(@instance_ids::int[], @api_keys::text[], @blobs::bytea[]) AS sealed (instance_id, api_key, blob)
 WHERE instance.instance_id = sealed.instance_id AND instance.api_key = sealed.api_key;

-- name: RewriteInstances :exec
-- What an UPDATE replaces stays readable in the table's file until the table is written anew.
VACUUM (FULL) llm_service_instances;

-- name: GetSentinel :one
SELECT key_id, sealed FROM encryption_sentinel;

-- name: InsertSentinel :exec
-- The first process to start with a database decides.
INSERT INTO encryption_sentinel (key_id, sealed) VALUES (@key_id::text, @sealed::bytea) ON CONFLICT DO NOTHING;

-- name: ReplaceSentinel :exec
UPDATE encryption_sentinel SET key_id = @key_id::text, sealed = @sealed::bytea;
