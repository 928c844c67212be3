"""Creates the projects' tables, and moves the embeddings of the original schema there, and back, in batches.

The statements call functions of migrations 0007, 0012, 0015 and 0020. After an interruption the next process continues.
All work is done in PostgreSQL, in a transaction per batch.
"""

import time
from collections.abc import Callable
from typing import Any

import msgspec
import psycopg

ROWS = 1000
TABLES = 100  # in a transaction, which holds some locks for each
MOST_LEFT_OVER = 10  # tables in use, with a wait of a second each
SECONDS_BETWEEN_REPORTS = 2.0
Say = Callable[[str], None]


class LeftOver(msgspec.Struct, frozen=True):
    """Embeddings of a project (owner/handle) that cannot be migrated, and the reason."""

    project: str
    reason: str
    rows: int


def forward(connection: psycopg.Connection, say: Say) -> None:
    """Creates missing tables, and moves all embeddings that can be moved.

    Others stay in the table embeddings_unmigrated, with the reason in the column `obstacle`.
    """
    for_all_tables(connection, "make_missing_partitions")
    if _left_over_by(connection, "detach_partitions", _Progress(say, "Detached the partitions of", "projects", None)):
        say("Some partitions are in use: they work unchanged, and are detached at the next start.")
    if _left_over_by(connection, "begin_logs", _Progress(say, "Started recording deletions for", "projects", None)):
        say("Some projects are in use: their logs of deletions begin at the next start.")
    for_all_tables(connection, "mark_carried_ids")
    waiting = value(connection, "SELECT count(*) FROM embeddings_unmigrated WHERE obstacle IS NULL")
    if waiting:
        _begin_anew(connection)
    progress = _Progress(say, "Moved", "embeddings", waiting)
    while looked_at := value(connection, "SELECT looked_at FROM carry_embeddings(%s)", ROWS):
        progress.add(looked_at)
    if waiting:
        _begin_anew(connection)
        progress.end()
        connection.execute("VACUUM embeddings_unmigrated")


def for_all_tables(connection: psycopg.Connection, function: str) -> None:
    """Calls a function of migrations for all tables, in batches."""
    while value(connection, f"SELECT {function}(%s)", TABLES):
        pass


def _left_over_by(connection: psycopg.Connection, function: str, progress: "_Progress") -> int:
    """As `for_all_tables`, but returns the number of skipped tables in use."""
    left_over, after = 0, 0
    statement = f"SELECT last_project, left_over FROM {function}(%s, %s, %s)"
    while after is not None and left_over < MOST_LEFT_OVER:
        parameters = [after, TABLES, MOST_LEFT_OVER - left_over]
        ((after, left_here),) = connection.execute(statement.encode(), parameters).fetchall()
        progress.add(TABLES if after is not None else 0)
        left_over += left_here
    return left_over


def _begin_anew(connection: psycopg.Connection) -> None:
    """Starts new logs, because moved embeddings keep their old sequences, and appear in no list of changes."""
    connection.execute(
        "UPDATE embedding_counts SET log = gen_random_uuid(), log_begins = nextval('embeddings_sequence')"
        " WHERE log_begins IS NOT NULL"
    )


def back(connection: psycopg.Connection, say: Say) -> None:
    """For a downgrade: moves the rows of all projects to embeddings_unmigrated, and drops their tables."""
    tables = connection.execute(
        # Without embeddings_partition, which does not exist before migration 0011.
        "SELECT project_id FROM projects"
        " WHERE to_regclass(format('%I.embeddings_%s', current_schema(), project_id)) IS NOT NULL ORDER BY project_id"
    ).fetchall()
    progress = _Progress(say, "Moved back", "embeddings", None)
    for (project_id,) in tables:
        after: str | None = ""
        while after is not None:
            after = value(connection, "SELECT carry_embeddings_back(%s, %s, %s)", project_id, after, ROWS)
            progress.add(ROWS if after is not None else 0)
        connection.execute("SELECT drop_embeddings_partition(%s)", [project_id])


def left_over(connection: psycopg.Connection) -> list[LeftOver]:
    """The rows that were not, or before `forward` will not be, moved, by project and reason."""
    rows = connection.execute(
        "SELECT owner || '/' || project_handle, obstacle, count(*)"
        "  FROM (SELECT project_id, obstacle FROM embeddings_to_carry WHERE obstacle IS NOT NULL"
        "         UNION ALL"
        "        SELECT project_id, obstacle FROM embeddings_unmigrated WHERE obstacle IS NOT NULL) AS rows"
        "  JOIN projects USING (project_id) GROUP BY owner, project_handle, obstacle ORDER BY 1, 2"
    ).fetchall()
    return [LeftOver(*row) for row in rows]


class _Progress:
    """Reports the progress every two seconds."""

    def __init__(self, say: Say, done: str, things: str, total: int | None) -> None:
        self._say, self._done, self._things, self._total = say, done, things, total
        self._rows = 0
        self._begin = self._said = time.monotonic()

    def add(self, rows: int) -> None:
        self._rows += rows
        if time.monotonic() - self._said > SECONDS_BETWEEN_REPORTS:
            self._said = time.monotonic()
            of_all = f" of {self._total:,}" if self._total is not None else ""
            self._say(f"{self._done} {self._rows:,}{of_all} {self._things} …")

    def end(self) -> None:
        seconds = time.monotonic() - self._begin
        self._say(f"Processed {self._rows:,} {self._things} in {seconds:.1f} s.")


def value(connection: psycopg.Connection, statement: str, *parameters: object) -> Any:
    """The single value that a statement returns."""
    ((found,),) = connection.execute(statement.encode(), parameters or None).fetchall()
    return found
