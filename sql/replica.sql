-- How far a server is, so that a replica can be compared with its primary.

-- name: RetrieveWalPosition :one
-- Whose copy the database is: a replica shares with its primary the number that initdb gave it, and the database's.
-- Then bytes of WAL: those replayed by a replica; of a server that is none, or no longer one, those it has written.
SELECT (SELECT system_identifier FROM pg_control_system())
       || '/' || (SELECT oid FROM pg_database WHERE datname = current_database()) AS identity,
       coalesce(CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn() ELSE pg_current_wal_lsn() END
                - '0/0'::pg_lsn, 0)::bigint AS position;
