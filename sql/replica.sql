-- WAL positions, to measure the lag of a replica.

-- name: RetrieveWalPosition :one
-- A replica has the system identifier (from initdb) and the database's oid of its primary. The position is 0 before the
-- first replay. Replicas behind the same name differ in `server`.
SELECT (SELECT system_identifier FROM pg_control_system())
       || '/' || (SELECT oid FROM pg_database WHERE datname = current_database()) AS identity,
       coalesce(CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn() ELSE pg_current_wal_lsn() END
                - '0/0'::pg_lsn, 0)::bigint AS position,
       concat_ws('/', host(inet_server_addr()), inet_server_port(), extract(epoch FROM pg_postmaster_start_time()))
       AS server;
