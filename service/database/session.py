"""The settings of database sessions, checked and set for both drivers.

They do not depend on the role, the database or a pooler, and are not sent in the startup message, which poolers refuse.
The installation is the schema with the tables. Several installations may share a database, so the search path has only
this schema and pgvector's, and names of tables and indexes that may be missing are qualified.
"""

import re
from typing import Any

import msgspec
import psycopg
from psycopg.rows import dict_row

from service.database.url import for_psycopg

ENCODING = "UTF8"
# `statement_timeout` and `search_path` differ by session. default_transaction_read_only is not set, because operators
# use it to prevent writes.
SETTINGS = {
    "lock_timeout": "0",
    "idle_in_transaction_session_timeout": "0",
    "idle_session_timeout": "0",
    "transaction_timeout": "0",  # PostgreSQL 17 and newer
    "default_transaction_isolation": "read committed",
    "default_transaction_deferrable": "off",
    "client_encoding": ENCODING,
    "TimeZone": "UTC",
    "DateStyle": "ISO, MDY",
    "IntervalStyle": "postgres",
    "bytea_output": "hex",
    "extra_float_digits": "1",
    "standard_conforming_strings": "on",
    "transform_null_equals": "off",
    "quote_all_identifiers": "off",  # constraints are compared as text
    "jit": "off",
    "plan_cache_mode": "auto",
    "enable_seqscan": "on",
    "enable_indexscan": "on",
    "enable_bitmapscan": "on",
    "enable_sort": "on",
    "embedding_service.counts": "on",  # statements count the embeddings that they write: migration 0015
    # For an index that was just replaced by one of the other kind.
    "hnsw.ef_search": "200",
    "ivfflat.probes": "40",
    "ivfflat.iterative_scan": "off",
    "hnsw.iterative_scan": "off",
    "hnsw.max_scan_tuples": "20000",
    "hnsw.scan_mem_multiplier": "1",
}

# Before any setting. An installation, and a database of the original system, has these two tables.
_INSPECT = """
SELECT current_setting('server_encoding') AS encoding,
       current_setting('search_path') AS search_path,
       (SELECT source FROM pg_settings WHERE name = 'search_path') AS source,
       current_schemas(false)::text[] AS schemas,
       ARRAY(SELECT nspname::text FROM unnest(current_schemas(false)) WITH ORDINALITY AS path (nspname, place)
              WHERE to_regclass(format('%I.embeddings', nspname)) IS NOT NULL
                AND to_regclass(format('%I.projects', nspname)) IS NOT NULL
              ORDER BY place) AS installed,
       (SELECT nspname::text FROM pg_extension JOIN pg_namespace ON pg_namespace.oid = extnamespace
         WHERE extname = 'vector') AS vector_schema
"""
# Unknown settings are skipped, except those of extensions, which may not be loaded yet. synchronous_commit must not be
# off: acknowledged commits are durable.
_SET = """
SELECT set_config(setting.name, setting.value, false)
  FROM unnest({names}::text[], {values}::text[]) AS setting (name, value)
 WHERE position('.' IN setting.name) > 0 OR EXISTS (SELECT FROM pg_settings WHERE lower(name) = lower(setting.name))
 UNION ALL
SELECT set_config('synchronous_commit', 'on', false) WHERE current_setting('synchronous_commit') = 'off'
"""
_FIRST = re.compile(r'\s*(?:"((?:[^"]|"")*)"|([^,"\s]+))')


class UnsupportedDatabase(Exception):
    """The service cannot use this server or database; the message has the reason and the remedy."""


class Installation(msgspec.Struct, frozen=True):
    """The schema with the service's tables, and that of pgvector; None before CREATE EXTENSION."""

    schema: str
    vector_schema: str | None


def quoted(identifier: str) -> str:
    """A quoted identifier."""
    return '"' + identifier.replace('"', '""') + '"'


async def prepare(connection: Any, *, statement_timeout: float, **settings: str) -> Installation:
    """Finds the installation, and prepares a new session of asyncpg; `settings` override defaults.

    `statement_timeout` is in seconds, 0 for none. Raises UnsupportedDatabase.
    """
    installation = _installation(dict(await connection.fetchrow(_INSPECT)))
    values = _values(installation, statement_timeout) | settings
    await connection.execute(_SET.format(names="$1", values="$2"), list(values), list(values.values()))
    return installation


def connect_sync(url: str) -> psycopg.Connection:
    """A prepared psycopg connection in autocommit mode, without timeouts, for migrations.

    Raises UnsupportedDatabase, BadDatabaseUrl, and psycopg.Error.
    """
    connection = psycopg.connect(for_psycopg(url), autocommit=True)
    try:
        with connection.cursor(row_factory=dict_row) as cursor:
            row = cursor.execute(_INSPECT.encode()).fetchone()
        values = _values(_installation(row or {}), 0)
        connection.execute(_SET.format(names="%s", values="%s").encode(), [list(values), list(values.values())])
    except BaseException:
        connection.close()
        raise
    return connection


def is_available(url: str) -> bool:
    """Whether the server accepts a connection to the database now."""
    try:
        psycopg.connect(for_psycopg(url)).close()
    except psycopg.OperationalError:
        return False
    return True


def check(url: str) -> None:
    """Checks a database before any change. Raises as `connect_sync`, and for transaction pooling.

    A transaction pooler switches sessions between transactions, which loses settings and locks.
    """
    with connect_sync(url) as one, connect_sync(url) as other:
        sessions = {row[0] for connection in (one, other) for row in connection.execute("SELECT pg_backend_pid()")}
        if len(sessions) < 2:  # two clients share a session
            raise UnsupportedDatabase(
                "The pooler of this database pools transactions or statements, but the service needs sessions: set "
                "pool_mode = session, or connect to the database directly."
            )


def _values(installation: Installation, statement_timeout: float) -> dict[str, str]:
    schemas = dict.fromkeys(name for name in (installation.schema, installation.vector_schema) if name is not None)
    return {
        **SETTINGS,
        "search_path": ", ".join(map(quoted, schemas)),
        "statement_timeout": str(round(statement_timeout * 1000)),
    }


def _installation(found: dict[str, Any]) -> Installation:
    """The installation is the first schema of the search path, which must exist.

    With PostgreSQL's default search path ("$user", public) it is the first schema with the tables, so that a schema
    with the user's name, created later, does not hide them.
    """
    if found["encoding"] != ENCODING:
        raise UnsupportedDatabase(
            f"This database has the encoding {found['encoding']}; the service needs {ENCODING}: create one with "
            f"ENCODING 'UTF8' TEMPLATE template0."
        )
    schemas, installed = found["schemas"], found["installed"]
    if found["source"] in ("default", "configuration file") and installed:
        return Installation(installed[0], found["vector_schema"])
    first = _FIRST.match(found["search_path"])
    wanted = (first[1].replace('""', '"') if first[1] is not None else first[2]) if first else None
    if not schemas or wanted not in (schemas[0], "$user"):
        raise UnsupportedDatabase(
            f"The schema {wanted!r}, the first in the search path {found['search_path']!r}, does not exist: create it, "
            "or set another."
        )
    return Installation(schemas[0], found["vector_schema"])
