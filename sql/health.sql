-- Whether the service is able to serve.

-- name: GetAppliedMigrations :many
-- The table is yoyo's; it allows nulls.
SELECT coalesce(migration_id, '') FROM _yoyo_migration ORDER BY migration_id;
