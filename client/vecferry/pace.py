"""How large the bodies of an upload are, and how many are sent at once: what this service likes best."""

from __future__ import annotations

import time

MIB = 1024 * 1024
LARGEST = 8 * MIB
SMALLEST = 16 * 1024
MOST = 8  # requests at once
SLOW_SECONDS = 5.0
WINDOW_SECONDS = 0.5  # the shortest time in which throughput is measured
GAIN = 1.05  # a change stays when it brings more than this


class Pace:
    """Climbs while throughput grows; halves when the service is busy or slow. `parallel` may be fixed.

    `size`: of the next body, `largest`: that any may have, in bytes; `parallel`: how many are sent at once.
    """

    def __init__(self, parallel: int | None) -> None:
        self.size = MIB
        self.parallel = 2 if parallel is None else parallel
        self.largest = LARGEST
        self._is_fixed = parallel is not None
        self._best = 0.0  # bytes a second
        self._undo: tuple[int, int] | None = None  # size and parallel before the change that is being tried
        self._failed = 0  # changes one after the other that brought nothing
        self._begin()

    def answered(self, sent: int, seconds: float) -> None:
        """Notes a good answer to a body of so many bytes after so many seconds."""
        if seconds > SLOW_SECONDS and self.size > SMALLEST:
            self.size = max(SMALLEST, self.size // 2)
            self._start_again()
            return
        self._sent += sent
        self._answers += 1
        elapsed = time.monotonic() - self._since
        if self._answers >= 2 * self.parallel and elapsed >= WINDOW_SECONDS:
            self._climb(self._sent / elapsed)

    def refused(self, status: int) -> None:
        """Notes that the service was too busy to take a body."""
        if status in (429, 503):
            self.parallel = self.parallel if self._is_fixed else max(1, self.parallel // 2)
            self._start_again()

    def too_large(self, limit: int) -> None:
        """Notes that bodies may have at most so many bytes."""
        self.largest = min(self.largest, limit)
        self.size = min(self.size, self.largest)
        self._start_again()

    def _climb(self, rate: float) -> None:
        if rate > GAIN * self._best:
            self._best, self._failed = rate, 0
        elif self._undo is not None:
            self.size, self.parallel = self._undo
            self._failed += 1
        self._undo = None
        if self._failed < 2:
            self._try_more()
        self._begin()

    def _try_more(self) -> None:
        """Sends more at once; where that brings nothing, larger bodies."""
        before = self.size, self.parallel
        if self._failed == 0 and not self._is_fixed and self.parallel < MOST:
            self.parallel += 1
        else:
            self.size = min(2 * self.size, self.largest)
        self._undo = None if (self.size, self.parallel) == before else before

    def _start_again(self) -> None:
        self._best, self._undo, self._failed = 0.0, None, 0
        self._begin()

    def _begin(self) -> None:
        self._since, self._sent, self._answers = time.monotonic(), 0, 0
