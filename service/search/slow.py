"""Slow searches of this process, in bounded memory, without vectors, texts, ids or values of filters."""

import os
from datetime import UTC, datetime
from enum import StrEnum

import msgspec

from service.queries.projects import ProjectAccess
from service.search.nearest import Answer, Question

SLOW_SECONDS = 0.1
MAX_KEPT = 50  # of the slowest and of the latest


class Outcome(StrEnum):
    """The end of a search: an answer, an error (mostly a timeout), or a disconnect of the client."""

    ANSWERED = "answered"
    FAILED = "failed"
    ABANDONED = "abandoned"


class SlowSearch(msgspec.Struct, frozen=True, omit_defaults=True):
    """A slow search: `limit` results for each of `vectors` vectors, after `offset`."""

    at: datetime
    owner: str
    project_handle: str
    seconds: float
    outcome: Outcome
    limit: int
    vectors: int
    is_filtered: bool
    offset: int = 0
    method: str | None = None
    recall: float | None = None


class SlowSearches(msgspec.Struct):
    """Searches of at least `threshold_seconds`: up to 50 of the `slowest` and of the `latest`; `slow` counts all.

    Only of this server process, since its start.
    """

    process: int
    since: datetime
    threshold_seconds: float
    slow: int
    slowest: list[SlowSearch]
    latest: list[SlowSearch]

    @classmethod
    def from_now(cls) -> "SlowSearches":
        """Those of this process, none yet."""
        return cls(os.getpid(), datetime.now(UTC), SLOW_SECONDS, 0, [], [])

    def note(
        self,
        project: ProjectAccess,
        question: Question,
        vectors: int,
        seconds: float,
        outcome: Outcome,
        answer: Answer | None,
    ) -> None:
        """Records a search if it was slow."""
        if seconds < SLOW_SECONDS:
            return
        search = SlowSearch(
            at=datetime.now(UTC),
            owner=project.owner,
            project_handle=project.project_handle,
            seconds=round(seconds, 4),
            outcome=outcome,
            limit=question.max_rows,
            vectors=vectors,
            is_filtered=question.is_filtered,
            offset=question.skip,
            method=answer.method if answer else None,
            recall=answer.recall if answer else None,
        )
        self.slow += 1
        self.latest = [search, *self.latest][:MAX_KEPT]
        self.slowest = sorted([search, *self.slowest], key=lambda one: one.seconds, reverse=True)[:MAX_KEPT]
