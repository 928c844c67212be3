-- How far a server is, so that a replica can be compared with its primary.

-- name: RetrieveWalPosition :one
-- Bytes of WAL: what a replica has replayed; of a server that is no replica, or no longer one, what it has written.
SELECT (CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn() ELSE pg_current_wal_lsn() END
        - '0/0'::pg_lsn)::bigint;
