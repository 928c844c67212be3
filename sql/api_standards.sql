-- API standards: how the interfaces of providers work.

-- name: UpsertAPIStandard :one
INSERT INTO api_standards (api_standard_handle, description, key_method, key_field, dialect)
VALUES (@api_standard_handle::text, @description::text, @key_method::text, @key_field::text, @dialect::text)
ON CONFLICT (api_standard_handle) DO UPDATE
   SET description = excluded.description, key_method = excluded.key_method, key_field = excluded.key_field,
       dialect = excluded.dialect, updated_at = now()
RETURNING api_standard_handle, key_method, description, key_field, dialect;

-- name: LockAPIStandard :one
SELECT to_jsonb(standard)
  FROM api_standards AS standard
 WHERE api_standard_handle = @api_standard_handle::text
   FOR UPDATE;

-- name: GetAPIStandards :many
SELECT api_standard_handle, key_method, description, key_field, dialect
  FROM api_standards
 ORDER BY api_standard_handle
 LIMIT @max_rows::int OFFSET @skip::bigint;

-- name: RetrieveAPIStandard :one
SELECT api_standard_handle, key_method, description, key_field, dialect
  FROM api_standards
 WHERE api_standard_handle = @api_standard_handle::text;

-- name: DeleteAPIStandard :one
DELETE FROM api_standards WHERE api_standard_handle = @api_standard_handle::text RETURNING api_standard_handle;
