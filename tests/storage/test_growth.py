"""When the index of a project that is being filled is built."""

import pytest

from service.queries.indexes import ProjectToIndex
from service.storage import indexer
from service.storage.indexer import Growth


class Clock:
    now = 0.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(indexer, "time", clock)
    return clock


def project(rows: int, changes: int | None = None) -> ProjectToIndex:
    return ProjectToIndex(1, 384, rows, rows if changes is None else changes, "")


def polls(clock: Clock, seen: Growth, rows: list[int]) -> list[bool]:
    """What each poll says, one every two seconds."""
    waited = []
    for each in rows:
        waited.append(seen.is_under_way(project(each)))
        clock.now += 2
    return waited


def test_a_build_waits_for_the_end_of_an_upload(clock: Clock) -> None:
    assert polls(clock, Growth(), [12_000, 40_000, 60_000, 60_000]) == [True, True, True, False]


def test_little_growth_is_not_waited_for(clock: Clock) -> None:
    assert polls(clock, Growth(), [50_000, 50_400, 50_800]) == [True, False, False]


def test_no_longer_than_a_build_would_take(clock: Clock) -> None:
    small = polls(clock, Growth(), [10_000 + 200 * poll for poll in range(8)])
    assert small == [True] * 5 + [False] * 3  # ten seconds
    large = polls(clock, Growth(), [1_000_000 + 20_000 * poll for poll in range(400)])
    assert large.index(False) == 50  # with 2,000,000 rows, when 20,000 more are 1 %


def test_changes_count_where_the_number_of_rows_stays(clock: Clock) -> None:
    seen = Growth()
    assert seen.is_under_way(project(10_000, 10_000))
    assert seen.is_under_way(project(10_000, 20_000))
    assert not seen.is_under_way(project(10_000, 20_010))


def test_after_a_build_it_begins_anew(clock: Clock) -> None:
    seen = Growth()
    assert not polls(clock, seen, [10_000 + 200 * poll for poll in range(8)])[-1]
    seen.forget(1)
    assert seen.is_under_way(project(30_000))
