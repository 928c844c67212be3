"""The size of the bodies of an upload, and the number sent in parallel, adapted to the service."""

from __future__ import annotations

import time

MIB = 1024 * 1024
LARGEST = 8 * MIB
SMALLEST = 16 * 1024
MOST = 8  # requests in parallel
QUICK_SECONDS = 0.1  # an answer that takes less is worth a larger body
SLOW_SECONDS = 5.0
WINDOW_SECONDS = 1.0  # the shortest time in which throughput is measured
GAIN = 1.05  # one more request in parallel stays when it brings more than this


class Pace:
    """Larger bodies while answers are quick, smaller ones when they are slow; more in parallel while throughput grows.

    `size`: of the next body, `largest`: that any may have, in bytes; `parallel`: the number sent in parallel, which may
    be fixed.
    """

    def __init__(self, parallel: int | None) -> None:
        if parallel is not None and parallel < 1:
            raise ValueError(f"parallel must be at least 1, not {parallel}.")
        self.size = MIB
        self.parallel = 2 if parallel is None else parallel
        self.largest = LARGEST
        self._is_fixed = parallel is not None
        self._best = 0.0  # bytes a second, of the windows before
        self._start_again()

    def answered(self, sent: int, seconds: float) -> None:
        """Records the success of a body of this size after these seconds."""
        size = self.size
        if seconds > SLOW_SECONDS:
            self.size = max(min(SMALLEST, size), size // 2)
        elif seconds < QUICK_SECONDS and sent > size // 2:
            self.size = min(2 * size, self.largest)
        if self.size != size:
            self._start_again()
            return
        self._sent += sent
        self._answers += 1
        elapsed = time.monotonic() - self._since
        if self._is_climbing and self._answers >= 2 * self.parallel and elapsed >= WINDOW_SECONDS:
            self._climb(self._sent / elapsed)

    def refused(self, status: int) -> None:
        """Records that the service was too busy for a body."""
        if status in (429, 503) and not self._is_fixed:
            self.parallel = max(1, self.parallel // 2)
            self._start_again()

    def too_large(self, limit: int) -> None:
        """Records the largest size of a body, in bytes."""
        self.largest = min(self.largest, limit)
        self.size = min(self.size, self.largest)
        self._start_again()

    def _climb(self, rate: float) -> None:
        """One more in parallel, while throughput grows; the last one without effect is taken back."""
        has_paid = rate > GAIN * self._best
        if not has_paid:
            self.parallel -= 1
        self._is_climbing = has_paid and self.parallel < MOST
        if self._is_climbing:
            self.parallel += 1
        self._best = rate
        self._begin()

    def _start_again(self) -> None:
        self._best, self._is_climbing = 0.0, not self._is_fixed
        self._begin()

    def _begin(self) -> None:
        self._since, self._sent, self._answers = time.monotonic(), 0, 0
