"""Schema migrations with yoyo over psycopg, under an advisory lock.

Any number of processes may start concurrently: the first one migrates, the others wait. All missing migrations are
applied in one transaction; then embeddings are moved in batches (service/schema/backfill.py).
"""

import contextlib
import io
import re
import time
from collections.abc import Iterator
from typing import Any

import msgspec
import psycopg
import yoyo
from yoyo.backends.core.postgresql import PostgresqlPsycopgBackend
from yoyo.connections import DatabaseURI, default_migration_table
from yoyo.migrations import Migration as Script

from service.database.session import UnsupportedDatabase, check, connect_sync
from service.paths import folder
from service.schema import backfill, takeover
from service.schema.backfill import LeftOver, Say, value

# The first bytes of SHA-256("embedding-service").
LOCK = 0x7AD11956
OLDEST_POSTGRESQL = 150_000
OLDEST_PGVECTOR = (0, 8, 0)
CARRYING = "0007"  # the migration with the functions of service/schema/backfill.py
PARTITIONS = "0005"
LOGGING = "0020"  # the migration that logs deletions
DETACHING = "0015"  # the migration that detaches the partitions
LOCK_MILLISECONDS = 2000  # the longest wait for a table in use
PAUSE_SECONDS = 10.0  # before the next attempt, in which requests are not blocked

_HAS_LIMITS = "num_nonnulls(tokens_per_day, tokens_per_month, requests_per_minute, expires_at) > 0"
# The data that a rollback drops and nothing computes again, and the statements that count them.
_DROPPED_BY = {
    "0001": [("users with all their data", "SELECT count(*) FROM users WHERE user_handle <> '_system'")],
    "0004": [
        ("encrypted provider keys", "SELECT count(*) FROM llm_service_instances WHERE api_key_encrypted IS NOT NULL"),
        ("definitions", "SELECT count(*) FROM llm_service_definitions WHERE owner <> '_system'"),
        ("shares of definitions", "SELECT count(*) FROM llm_service_definitions_shared_with"),
    ],
    "0018": [("settings of text_search", "SELECT count(*) FROM projects WHERE text_search <> 'editors'")],
    "0019": [
        ("instances with limits", f"SELECT count(*) FROM llm_service_instances WHERE {_HAS_LIMITS}"),
        ("shares with limits", f"SELECT count(*) FROM llm_service_instances_shared_with WHERE {_HAS_LIMITS}"),
        ("rows of the usage of instances", "SELECT count(*) FROM instance_usage"),
        # The next upgrade sets those of the built-in standards.
        (
            "dialects of API standards",
            "SELECT count(*) FROM api_standards"
            " WHERE dialect <> api_standard_handle AND api_standard_handle <> 'azure-openai'",
        ),
    ],
}


class Refused(Exception):
    """This operation needs an explicit option; nothing was changed."""


class Migration(msgspec.Struct, frozen=True):
    """A migration by the name of its file, and whether it is applied."""

    name: str
    applied: bool


class Plan(msgspec.Struct, frozen=True):
    """The effect of `upgrade`. `takes_over` is the version of dhamps-vdb, for a database of it."""

    takes_over: int | None
    migrations: list[str]
    contents: dict[str, int]
    left_over: list[LeftOver]


def names() -> list[str]:
    """The names of all migrations of this version, in order."""
    return sorted(path.stem for path in folder("migrations").glob("*.sql") if not path.stem.endswith(".rollback"))


def status(url: str) -> list[Migration]:
    """All migrations of this version, in order, with their states. Changes nothing."""
    check(url)
    with connect_sync(url) as connection:
        _check_server(connection)
        applied = _applied(connection)
        return [Migration(name, name in applied) for name in names()]


def plan(url: str) -> Plan:
    """The effect of `upgrade`, from a transaction that is rolled back. Raises as `upgrade` does."""
    with _locked(url) as connection, _Backend(connection) as backend:
        found = takeover.version(connection)
        with backend.transaction(rollback_on_exit=True):
            connection.execute(f"SET LOCAL lock_timeout = {LOCK_MILLISECONDS}")
            missing = _missing(connection, found)
            if found:
                takeover.prepare(connection, found)
            for script in missing:
                backend.run(script, "apply")
            tables = {
                "users": "users WHERE user_handle <> '_system'",
                "projects": "projects",
                "instances": "llm_service_instances",
                "definitions": "llm_service_definitions WHERE owner <> '_system'",
                "embeddings_to_migrate": "embeddings_to_carry WHERE obstacle IS NULL",
                "encrypted_keys": "llm_service_instances WHERE api_key_encrypted IS NOT NULL",
                "plaintext_keys": "llm_service_instances WHERE api_key IS NOT NULL",
            }
            contents = {name: value(connection, f"SELECT count(*) FROM {table}") for name, table in tables.items()}
            return Plan(found, [script.id for script in missing], contents, backfill.left_over(connection))


def upgrade(url: str, *, take_over: bool = False, again: bool = False, say: Say = lambda _: None) -> list[str]:
    """Applies the missing migrations in one transaction, moves embeddings, and returns the migrations' names.

    `again` retries embeddings that could not be moved. Waits for tables in use, except those of the original system.
    Before any change, raises UnsupportedDatabase, and Refused for a database of the original system unless `take_over`.
    If a migration fails, raises CannotTakeOver or psycopg.Error, and the schema is unchanged.
    """
    with _locked(url) as connection, _Backend(connection) as backend:
        found = takeover.version(connection)
        if found and not take_over:
            raise Refused(
                f"This is a database of dhamps-vdb, version {found}. Back it up, stop dhamps-vdb, check `migrate "
                "--dry-run`, and take it over with `migrate`; see docs/MIGRATION.md."
            )
        reads_only = value(connection, "SHOW transaction_read_only") == "on"
        if reads_only and not (again or found or _missing(connection, found)):
            return []
        backend.ensure_internal_schema_updated()
        while True:
            try:
                missing = _apply_missing(connection, backend, found)
                break
            except psycopg.errors.LockNotAvailable:
                if found:
                    raise
                say("A long transaction, perhaps a backup, uses tables that change. Waiting for its end.")
                time.sleep(PAUSE_SECONDS)
        if again:
            connection.execute("UPDATE embeddings_unmigrated SET obstacle = NULL WHERE obstacle IS NOT NULL")
        backfill.forward(connection, say)
        return [script.id for script in missing]


def _apply_missing(connection: psycopg.Connection, backend: "_Backend", found: int | None) -> list[Script]:
    with backend.transaction():
        # A statement that waits for a table blocks all requests that use this table.
        connection.execute(f"SET LOCAL lock_timeout = {LOCK_MILLISECONDS}")
        missing = _missing(connection, found)
        if found:
            takeover.prepare(connection, found)
            connection.execute("DELETE FROM _yoyo_migration")
            for script in _scripts()[:found]:
                backend.mark_one(script, log=False)
        for script in missing:
            backend.apply_one(script)
    return missing


def left_over(url: str) -> list[LeftOver]:
    """The embeddings of the original system that could not be migrated."""
    with connect_sync(url) as connection:
        return backfill.left_over(connection)


def downgrade(url: str, target: str, *, discard: bool = False, say: Say = lambda _: None) -> list[str]:
    """Rolls back, newest first, all migrations after `target` (a name or its number), and returns their names.

    `0000` rolls back all. Raises ValueError for an unknown migration, and Refused if data would be lost, unless
    `discard`.
    """
    last = next((name for name in names() if target in (name, name[:4])), None)
    if last is None and target != "0000":
        raise ValueError(f"Unknown migration {target}; known are {', '.join(names())}, and 0000 for none.")
    with _locked(url) as connection, _Backend(connection) as backend:
        backend.ensure_internal_schema_updated()
        applied = _applied(connection)
        doomed = [script for script in reversed(_scripts()) if script.id > (last or "") and script.id in applied]
        numbers = {script.id[:4] for script in doomed}
        if not discard:
            _refuse_to_drop(connection, numbers)
        if LOGGING in numbers:
            backfill.for_all_tables(connection, "end_logs")
        if {PARTITIONS, CARRYING} <= numbers:
            backfill.back(connection, say)
        if DETACHING in numbers:
            backfill.for_all_tables(connection, "attach_partitions")  # reads all rows
        with backend.transaction():
            for script in doomed:
                backend.rollback_one(script)
        return [script.id for script in doomed]


def _refuse_to_drop(connection: psycopg.Connection, numbers: set[str]) -> None:
    dropped = []
    for number in sorted(numbers & _DROPPED_BY.keys()):
        for what, statement in _DROPPED_BY[number]:
            if count := value(connection, statement):
                dropped.append(f"{count} {what}")
    if dropped:
        raise Refused(
            f"The older schema cannot hold {', '.join(dropped)}. Back up the database, and add --discard to drop them."
        )


class _Backend(PostgresqlPsycopgBackend):  # type: ignore[misc]  # yoyo has no types
    """yoyo's backend on a given connection, so that a migration and its mark are one transaction.

    yoyo's own backend marks migrations on another connection: killed in between, it would apply a migration twice. Its
    lock, a row of a table, outlives a killed process; ours does not.
    """

    def __init__(self, connection: psycopg.Connection) -> None:
        self._given = connection
        uri = DatabaseURI("postgresql", None, None, None, None, connection.info.dbname, {})
        super().__init__(uri, default_migration_table)

    def connect(self, dburi: Any) -> psycopg.Connection:
        return self._given

    def lock(self, timeout: float = 0) -> contextlib.AbstractContextManager[None]:
        return contextlib.nullcontext()

    def get_log_data(self, migration: Any = None, operation: str = "apply") -> dict[str, Any]:
        # Only used for changes of yoyo's tables. The original fails for users without a name, as in many containers.
        return {"username": "", "hostname": ""}

    def run(self, migration: Script, direction: str) -> None:
        with contextlib.redirect_stdout(io.StringIO()):  # yoyo prints what a SELECT returns
            migration.process_steps(self, direction)

    def apply_one(self, migration: Script, force: bool = False, mark: bool = True) -> None:
        self.run(migration, "apply")
        self.mark_one(migration, log=False)

    def rollback_one(self, migration: Script, force: bool = False) -> None:
        self.run(migration, "rollback")
        self.unmark_one(migration, log=False)


@contextlib.contextmanager
def _locked(url: str) -> Iterator[psycopg.Connection]:
    """A connection that holds the lock for migrations of this schema."""
    check(url)
    with connect_sync(url) as connection:
        _check_server(connection)
        connection.execute("SELECT pg_advisory_lock(%s, quote_ident(current_schema())::regnamespace::oid::int)", [LOCK])
        yield connection


def _scripts() -> list[Script]:
    return list(yoyo.read_migrations(str(folder("migrations"))))


def _applied(connection: psycopg.Connection) -> set[str]:
    if (
        takeover.version(connection)
        or value(connection, "SELECT to_regclass(format('%I._yoyo_migration', current_schema()))") is None
    ):
        return set()
    return {name for (name,) in connection.execute("SELECT migration_id FROM _yoyo_migration").fetchall()}


def _missing(connection: psycopg.Connection, found: int | None) -> list[Script]:
    """The missing migrations; a database of the original system at version n has the first n."""
    applied = set(names()[:found]) if found else _applied(connection)
    return [script for script in _scripts() if script.id not in applied]


def is_new_enough(pgvector: str) -> bool:
    """Whether this version of pgvector is supported. Some hosts use suffixes, as in 0.8.0.google-3."""
    return tuple(map(int, re.findall(r"\d+", pgvector)[: len(OLDEST_PGVECTOR)])) >= OLDEST_PGVECTOR


def _check_server(connection: psycopg.Connection) -> None:
    if connection.info.server_version < OLDEST_POSTGRESQL:
        found = connection.info.parameter_status("server_version")
        raise UnsupportedDatabase(f"This is PostgreSQL {found}; the service needs 15 or newer.")
    row = connection.execute(
        "SELECT installed_version, default_version FROM pg_available_extensions WHERE name = 'vector'"
    ).fetchone()
    if row is None:
        raise UnsupportedDatabase("This PostgreSQL server has no pgvector; the service needs version 0.8.0 or newer.")
    installed, available = row
    version = installed or available
    if not is_new_enough(version):
        advice = "Run `ALTER EXTENSION vector UPDATE`." if installed and available != installed else ""
        raise UnsupportedDatabase(f"This server has pgvector {version}; the service needs 0.8.0 or newer. {advice}")
