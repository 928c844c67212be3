"""Takeover of a database of the original system, dhamps-vdb: converts its catalogue for our migrations.

Such a database has the table `db_version`. At version 3 its tables are those of our migration 0003, at version 4 almost
those of 0004, under other names. `service.schema.backfill` moves the rows of embeddings later.
"""

import psycopg

from service.paths import folder

# Migration 0004 adds this to the version in db_version, so that the original system refuses the database.
TAKEN_OVER = 1_000_000
VERSIONS = (3, 4)

# Obstacles to a migration by version, as (message, statement that finds them).
_DIMENSIONS = "instances must have 1 to 16000 dimensions; these do not"
_OBSTACLES = {
    3: [
        (
            _DIMENSIONS,
            "SELECT owner || '/' || llm_service_handle FROM llm_services WHERE dimensions NOT BETWEEN 1 AND 16000",
        ),
        (
            "the handle _system and the address system@dhamps-vdb.internal are reserved; these users have one",
            "SELECT user_handle FROM users WHERE user_handle = '_system' OR email = 'system@dhamps-vdb.internal'",
        ),
    ],
    4: [
        (_DIMENSIONS, "SELECT owner || '/' || instance_handle FROM instances WHERE dimensions NOT BETWEEN 1 AND 16000"),
        (
            "definitions must have 1 to 16000 dimensions, or 0 for any; these do not",
            "SELECT owner || '/' || definition_handle FROM definitions WHERE dimensions NOT BETWEEN 0 AND 16000",
        ),
        (
            "context limits must not be negative; these are",
            "SELECT owner || '/' || instance_handle FROM instances WHERE context_limit < 0 UNION ALL "
            "SELECT owner || '/' || definition_handle FROM definitions WHERE context_limit < 0",
        ),
        (
            "the address system@dhamps-vdb.internal is reserved; these users have it",
            "SELECT user_handle FROM users WHERE user_handle <> '_system' AND email = 'system@dhamps-vdb.internal'",
        ),
    ],
}


class CannotTakeOver(Exception):
    """This database of the original system cannot be taken over in its state; nothing was changed."""


def version(connection: psycopg.Connection) -> int | None:
    """The version of the original system, 3 or 4; None for another database, or after a takeover.

    Raises CannotTakeOver for other versions.
    """
    if connection.execute("SELECT to_regclass(format('%I.db_version', current_schema()))").fetchone() == (None,):
        return None
    row = connection.execute("SELECT version FROM db_version").fetchone()
    found: int = row[0] if row else 0
    if found >= TAKEN_OVER:
        return None
    if found not in VERSIONS:
        raise CannotTakeOver(
            f"This is a database of dhamps-vdb at version {found}; versions 3 and 4 can be taken over. "
            + ("Bring it to version 3 with dhamps-vdb first." if found < min(VERSIONS) else "It is too new.")
        )
    return found


def prepare(connection: psycopg.Connection, found: int) -> None:
    """Converts the original's catalogue, in the open transaction, to the schema after the migration `found`.

    Raises CannotTakeOver for rows that are not valid, and psycopg.Error for unexpected tables.
    """
    # Waiting longer for requests of the original system would block later ones.
    connection.execute("SET LOCAL lock_timeout = '10s'")
    problems = []
    for problem, statement in _OBSTACLES[found]:
        names = [str(name) for (name,) in connection.execute(statement.encode()).fetchall()]
        if names:
            problems.append(f"{problem}: {', '.join(names)}.")
    if problems:
        raise CannotTakeOver("This database cannot be taken over; nothing was changed. " + " ".join(problems))
    for script in ("names", f"version_{found}"):
        text = (folder("migrations") / "takeover" / f"{script}.sql").read_bytes()
        connection.execute(text)
