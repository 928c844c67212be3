"""Slow searches of this process, in bounded memory, without vectors, texts, ids or values of filters."""

import heapq
from collections import deque
from datetime import UTC, datetime
from enum import StrEnum
from itertools import count

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


class SlowSearches:
    """The slowest searches since the start of this process, and the latest slow ones."""

    def __init__(self) -> None:
        self.since = datetime.now(UTC)
        self.count = 0
        self._latest: deque[SlowSearch] = deque(maxlen=MAX_KEPT)
        self._slowest: list[tuple[float, int, SlowSearch]] = []  # a heap; the number is the tie-breaker
        self._numbers = count()

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
        self.count += 1
        self._latest.appendleft(search)
        add = heapq.heappush if len(self._slowest) < MAX_KEPT else heapq.heappushpop
        add(self._slowest, (seconds, next(self._numbers), search))

    @property
    def latest(self) -> list[SlowSearch]:
        """The latest slow searches, newest first."""
        return list(self._latest)

    @property
    def slowest(self) -> list[SlowSearch]:
        """The slowest searches, slowest first."""
        return [search for _, _, search in sorted(self._slowest, reverse=True)]
