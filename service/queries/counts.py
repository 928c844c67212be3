"""Statements of `sql/counts.sql`: the numbers of embeddings of projects."""

from service.database.statements import Db, Queries

query = Queries(__name__)


@query
async def fold_counts(db: Db, *, threshold: int) -> None:
    """Updates the projects' numbers of embeddings, and marks projects whose index must be checked."""


@query
async def get_uncounted(db: Db) -> list[int]:
    """Projects whose embeddings must be counted."""


@query
async def lock_embeddings(db: Db, *, project_id: int) -> None:
    """Prevents truncating or dropping a project's table until the end of the transaction."""


@query
async def lock_count(db: Db, *, project_id: int) -> int | None:
    """Locks a project's count until the end of the transaction, after `lock_embeddings`.

    None if it is already locked, or the project was deleted.
    """


@query
async def recount(db: Db, *, project_id: int) -> None:
    """Counts a project's embeddings, after `lock_count` in the same transaction."""


@query
async def drop_stray_deltas(db: Db) -> None:
    """Deletes the deltas of deleted projects."""
