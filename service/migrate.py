"""Brings the database to the schema of this version, and back: yoyo over psycopg, under one advisory lock.

Any number of replicas may start at once: the first one migrates, the others wait and find nothing to do.
"""

import contextlib
import io
from collections.abc import Iterator
from urllib.parse import urlencode

import msgspec
import psycopg
import yoyo
from psycopg.conninfo import conninfo_to_dict
from yoyo.backends.base import DatabaseBackend
from yoyo.migrations import MigrationList

from service.files import folder

# Any number that no other program of the database uses: the first bytes of SHA-256("embedding-service").
LOCK = 0x7AD11956
OLDEST_POSTGRESQL = 150_000
OLDEST_PGVECTOR = (0, 8, 0)


class UnsupportedServer(Exception):
    """The PostgreSQL server, or its pgvector extension, is too old or missing."""


class Migration(msgspec.Struct, frozen=True):
    """One step of the schema, by the name of its file, and whether the database has it."""

    name: str
    applied: bool


def names() -> list[str]:
    """The names of all migrations of this version, in order."""
    return sorted(path.stem for path in folder("migrations").glob("*.sql") if not path.stem.endswith(".rollback"))


def status(url: str) -> list[Migration]:
    """All migrations of this version, in order, and which of them the database has."""
    with _locked(url) as backend:
        missing = {migration.id for migration in _missing(backend)}
        return [Migration(name, name not in missing) for name in names()]


def upgrade(url: str) -> list[str]:
    """Applies what is missing, each migration in a transaction, and returns their names.

    Raises UnsupportedServer before anything is changed, and psycopg.Error when a migration fails:
    that one is rolled back then, and those before it stay.
    """
    with _locked(url) as backend:
        missing = _missing(backend)
        done = [migration.id for migration in missing]
        with contextlib.redirect_stdout(io.StringIO()):  # yoyo prints what a SELECT returns
            backend.apply_migrations(missing)
        return done


def downgrade(url: str, target: str) -> list[str]:
    """Takes back, newest first, all migrations after `target` (a name or its number), and returns their names.

    `0000` takes all back. Raises ValueError when there is no such migration.
    """
    last = next((name for name in names() if target in (name, name[:4])), None)
    if last is None and target != "0000":
        raise ValueError(f"There is no migration {target}; there are {', '.join(names())}, and 0000 for none.")
    with _locked(url) as backend:
        migrations = yoyo.read_migrations(str(folder("migrations")))
        doomed = backend.to_rollback(migrations.filter(lambda migration: migration.id > (last or "")))
        done = [migration.id for migration in doomed]
        with contextlib.redirect_stdout(io.StringIO()):
            backend.rollback_migrations(doomed)
        return done


@contextlib.contextmanager
def _locked(url: str) -> Iterator[DatabaseBackend]:
    """Yields a backend while nobody else migrates. The lock goes with its connection, even when killed."""
    with psycopg.connect(url, autocommit=True) as connection:
        _check_server(connection)
        connection.execute("SELECT pg_advisory_lock(%s)", [LOCK])
        arguments = {key: str(value) for key, value in conninfo_to_dict(url).items() if value is not None}
        with yoyo.get_backend(f"postgresql+psycopg://?{urlencode(arguments)}") as backend:
            yield backend


def _missing(backend: DatabaseBackend) -> MigrationList:
    return backend.to_apply(yoyo.read_migrations(str(folder("migrations"))))


def _check_server(connection: psycopg.Connection) -> None:
    if connection.info.server_version < OLDEST_POSTGRESQL:
        found = connection.info.parameter_status("server_version")
        raise UnsupportedServer(f"This is PostgreSQL {found}; the service needs 15 or newer.")
    row = connection.execute(
        "SELECT installed_version, default_version FROM pg_available_extensions WHERE name = 'vector'"
    ).fetchone()
    if row is None:
        raise UnsupportedServer("This PostgreSQL server has no pgvector; the service needs 0.8.0 or newer of it.")
    installed, available = row
    version = installed or available
    if tuple(int(part) for part in version.split(".")) < OLDEST_PGVECTOR:
        advice = "Run `ALTER EXTENSION vector UPDATE`." if installed and available != installed else ""
        raise UnsupportedServer(f"This server has pgvector {version}; the service needs 0.8.0 or newer. {advice}")
