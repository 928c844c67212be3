"""A circuit breaker: a provider that fails again and again is left alone for a while, then tried with one call."""

import time

from service.observability import metrics
from service.providers.errors import Down
from service.providers.limits import FAILURES_BEFORE_REST, LONGEST_REST, REST_SECONDS

MAX_KEPT = 10_000  # instances of which failures are remembered


class Breaker:
    """What is known of an instance's provider: its failures one after the other, and until when it rests."""

    def __init__(self) -> None:
        self._failures, self._rest, self._until = 0, REST_SECONDS, 0.0

    def check(self) -> None:
        """Raises Down while the provider rests. Afterwards one call may pass, others wait for what becomes of it."""
        now = time.monotonic()
        if self._failures < FAILURES_BEFORE_REST:
            return
        if now < self._until:
            raise Down("has failed several times and is left alone for a while", retry_after=self._until - now)
        self._until = now + self._rest

    def succeeded(self) -> None:
        """A call was answered."""
        self._failures, self._rest = 0, REST_SECONDS

    def failed(self) -> None:
        """A call failed in a way that is the provider's."""
        self._failures += 1
        if self._failures >= FAILURES_BEFORE_REST:
            self._until = time.monotonic() + self._rest
            self._rest = min(2 * self._rest, LONGEST_REST)

    @property
    def is_open(self) -> bool:
        """Whether the provider rests."""
        return self._failures >= FAILURES_BEFORE_REST


class Breakers:
    """The breakers of all instances that have failed."""

    def __init__(self) -> None:
        self._of: dict[int, Breaker] = {}

    def check(self, instance_id: int) -> None:
        """Raises Down while the instance's provider rests."""
        if instance_id in self._of:
            self._of[instance_id].check()

    def note(self, instance_id: int, *, failed: bool) -> None:
        """Remembers how a call ended."""
        if failed:
            if len(self._of) >= MAX_KEPT:
                self._of.clear()
            self._of.setdefault(instance_id, Breaker()).failed()
        elif instance_id in self._of:
            del self._of[instance_id]
        metrics.note_resting_providers(sum(one.is_open for one in self._of.values()))
