"""The settings that each session of the service relies on: checked and set here for both drivers.

Nothing is left to what the role, the database or a pooler sets, and nothing is sent at the startup, where poolers
refuse it. The installation is the schema with the tables: several may share a database, so every session has a
search path of this schema and pgvector's only, and what may be missing in it (tables, indexes) is named with it.
"""

import re
from typing import Any

import msgspec
import psycopg
from psycopg.rows import dict_row

from service.database.url import for_psycopg

ENCODING = "UTF8"
# The values that are relied on; `statement_timeout` and `search_path` are each session's own. Not here:
# default_transaction_read_only, with which an operator says that nothing is to be written now.
SETTINGS = {
    "lock_timeout": "0",
    "idle_in_transaction_session_timeout": "0",
    "idle_session_timeout": "0",
    "transaction_timeout": "0",  # of PostgreSQL 17 and newer
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
    "quote_all_identifiers": "off",  # tables' constraints are compared as texts
    "jit": "off",
    "plan_cache_mode": "auto",
    "enable_seqscan": "on",
    "enable_indexscan": "on",
    "enable_bitmapscan": "on",
    "enable_sort": "on",
    "embedding_service.counts": "on",  # its statements count the embeddings that they write: migration 0015
    # Of an index that was replaced by one of the other kind, between the search for it and this statement.
    "hnsw.ef_search": "200",
    "ivfflat.probes": "40",
    "ivfflat.iterative_scan": "off",
    "hnsw.iterative_scan": "off",
    "hnsw.max_scan_tuples": "20000",
    "hnsw.scan_mem_multiplier": "1",
}

# Before anything is set. An installation has these two tables, and so has an original system's database.
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
# Names that the server does not know are skipped, except those of an extension, which it may not have loaded yet. An
# acknowledged commit is on disk, whatever the settings of the role or the database.
_SET = """
SELECT set_config(setting.name, setting.value, false)
  FROM unnest({names}::text[], {values}::text[]) AS setting (name, value)
 WHERE position('.' IN setting.name) > 0 OR EXISTS (SELECT FROM pg_settings WHERE lower(name) = lower(setting.name))
 UNION ALL
SELECT set_config('synchronous_commit', 'on', false) WHERE current_setting('synchronous_commit') = 'off'
"""
_FIRST = re.compile(r'\s*(?:"((?:[^"]|"")*)"|([^,"\s]+))')


class UnsupportedDatabase(Exception):
    """The service cannot use this server or database; the message says why and what to do."""


class Installation(msgspec.Struct, frozen=True):
    """The schema with the service's tables, and pgvector's; None until the extension is created."""

    schema: str
    vector_schema: str | None

    @property
    def search_path(self) -> str:
        """Both, quoted: nothing else is ever found by its name alone."""
        schemas = dict.fromkeys(name for name in (self.schema, self.vector_schema) if name is not None)
        return ", ".join(map(quoted, schemas))


def quoted(identifier: str) -> str:
    """An identifier as it stands in a statement."""
    return '"' + identifier.replace('"', '""') + '"'


async def prepare(connection: Any, *, statement_timeout: float, **settings: str) -> Installation:
    """Finds the installation, and sets up a new session of asyncpg; `settings` override the usual ones.

    `statement_timeout` is in seconds, 0 for none. Raises UnsupportedDatabase.
    """
    installation = _installation(dict(await connection.fetchrow(_INSPECT)))
    values = _values(installation, statement_timeout) | settings
    await connection.execute(_SET.format(names="$1", values="$2"), list(values), list(values.values()))
    return installation


def connect_sync(url: str) -> psycopg.Connection:
    """A prepared connection of psycopg in autocommit, for migrations: without timeouts.

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


def check(url: str) -> None:
    """Checks a database before anything in it is changed. Raises as `connect_sync`, and for transaction pooling.

    A transaction pooler gives each transaction another session, without the settings and locks of the one before.
    """
    with connect_sync(url) as one, connect_sync(url) as other:
        sessions = {row[0] for connection in (one, other) for row in connection.execute("SELECT pg_backend_pid()")}
        if len(sessions) < 2:  # two clients at once have one session
            raise UnsupportedDatabase(
                "The pooler in front of this database pools transactions (or statements); the service needs sessions "
                "of its own: set pool_mode = session for it, or name the database itself."
            )


def _values(installation: Installation, statement_timeout: float) -> dict[str, str]:
    return {
        **SETTINGS,
        "search_path": installation.search_path,
        "statement_timeout": str(round(statement_timeout * 1000)),
    }


def _installation(found: dict[str, Any]) -> Installation:
    """The installation: the first schema of the search path, which must exist when it was set.

    With PostgreSQL's default search path ("$user", public) it is the first schema that has the tables: a schema of the
    user's name that is created later must not hide them.
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
            f"There is no schema {wanted!r}, which the search path {found['search_path']!r} begins with: create it, or "
            "name another."
        )
    return Installation(schemas[0], found["vector_schema"])
