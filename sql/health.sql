-- Readiness.

-- name: IsReadOnly :one
SELECT current_setting('transaction_read_only')::bool OR pg_is_in_recovery();

-- name: GetAppliedMigrations :many
-- The table is yoyo's; it allows nulls.
SELECT coalesce(migration_id, '') FROM _yoyo_migration ORDER BY migration_id;
