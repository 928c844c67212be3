-- All providers' keys: counts by encryption key, and rotation.

-- name: GetSealedKeys :many
SELECT owner, instance_handle, instance_id, api_key_encrypted AS blob, api_key_sealed_by AS key_id
  FROM llm_service_instances
 WHERE instance_id > @after::int AND api_key_encrypted IS NOT NULL
 ORDER BY instance_id
 LIMIT @max_rows::int;

-- name: CountSealedKeys :many
SELECT api_key_sealed_by AS key_id, count(*) AS sealed
  FROM llm_service_instances
 WHERE api_key_encrypted IS NOT NULL
 GROUP BY api_key_sealed_by
 ORDER BY api_key_sealed_by NULLS FIRST;

-- name: ResealKeys :execrows
-- Skips a blob that its owner has replaced meanwhile. A rotation is not a change of the instance: updated_at stays.
UPDATE llm_service_instances AS instance
   SET api_key_encrypted = sealed.blob, api_key_sealed_by = @key_id::text
  FROM unnest(@instance_ids::int[], @old_blobs::bytea[], @blobs::bytea[]) AS sealed (instance_id, old_blob, blob)
 WHERE instance.instance_id = sealed.instance_id AND instance.api_key_encrypted = sealed.old_blob;

-- name: CountPlaintextKeys :one
SELECT count(*) FROM llm_service_instances WHERE api_key IS NOT NULL;

-- name: GetPlaintextKeys :many
SELECT owner, instance_handle, instance_id, api_key
  FROM llm_service_instances
 WHERE instance_id > @after::int AND api_key IS NOT NULL
 ORDER BY instance_id
 LIMIT @max_rows::int;

-- name: SealPlaintextKeys :execrows
-- An existing encrypted key is newer than the plaintext one, and stays. A null blob is for an empty plaintext key.
UPDATE llm_service_instances AS instance
   SET api_key_encrypted = coalesce(instance.api_key_encrypted, sealed.blob),
       api_key_sealed_by = CASE WHEN instance.api_key_encrypted IS NULL AND sealed.blob IS NOT NULL THEN @key_id::text
                                ELSE instance.api_key_sealed_by END,
       api_key = NULL
  FROM unnest(@instance_ids::int[], @api_keys::text[], @blobs::bytea[]) AS sealed (instance_id, api_key, blob)
 WHERE instance.instance_id = sealed.instance_id AND instance.api_key = sealed.api_key;

-- name: RewriteInstances :exec
-- Old row versions with plaintext keys remain in the table's file until it is rewritten.
VACUUM (FULL) llm_service_instances;

-- name: GetSentinel :one
SELECT key_id, sealed FROM encryption_sentinel;

-- name: StoreSentinel :one
-- Unless it replaces the stored one, the first process decides.
INSERT INTO encryption_sentinel AS stored (key_id, sealed) VALUES (@key_id::text, @sealed::bytea)
ON CONFLICT (only_row) DO UPDATE
   SET key_id = CASE WHEN @replaces::bool THEN excluded.key_id ELSE stored.key_id END,
       sealed = CASE WHEN @replaces::bool THEN excluded.sealed ELSE stored.sealed END
RETURNING key_id, sealed;
