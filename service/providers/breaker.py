"""Circuit breakers: a provider that fails repeatedly is not called for a while, then tried with a single call."""

import asyncio
import time

import msgspec

from service.observability import metrics
from service.providers.errors import Down
from service.providers.limits import FAILURES_BEFORE_REST, LONGEST_REST, REST_SECONDS

MAX_KEPT = 10_000  # instances with failures
PAST_SECONDS = 0.1  # after the end of a pause: timers may be early by a millisecond


class _Breaker(msgspec.Struct):
    """The consecutive failures of an instance's provider, and its next and current pause."""

    failures: int = 0
    rest: float = REST_SECONDS
    until: float = 0.0

    @property
    def is_open(self) -> bool:
        return self.failures >= FAILURES_BEFORE_REST


class Breakers:
    """The breakers of all instances with failures."""

    def __init__(self) -> None:
        self._of: dict[int, _Breaker] = {}

    def check(self, instance_id: int) -> None:
        """Raises Down during the pause of a provider. After it one call passes; others wait for its result."""
        breaker, now = self._of.get(instance_id), time.monotonic()
        if breaker is None or not breaker.is_open:
            return
        if now < breaker.until:
            raise Down("has failed several times and is not called for a while", retry_after=breaker.until - now)
        breaker.until = now + breaker.rest
        self._count_pauses()

    def note(self, instance_id: int, *, failed: bool) -> None:
        """Records the result of a call."""
        if failed:
            if len(self._of) >= MAX_KEPT:
                self._of.clear()
            breaker = self._of.setdefault(instance_id, _Breaker())
            breaker.failures += 1
            if breaker.is_open:
                breaker.until = time.monotonic() + breaker.rest
                # Perhaps nobody calls this provider again: its instance may be deleted.
                asyncio.get_running_loop().call_later(breaker.rest + PAST_SECONDS, self._count_pauses)
                breaker.rest = min(2 * breaker.rest, LONGEST_REST)
        else:
            self._of.pop(instance_id, None)
        self._count_pauses()

    def _count_pauses(self) -> None:
        now = time.monotonic()
        metrics.PROVIDERS_RESTING.set(sum(one.until > now for one in self._of.values()))
