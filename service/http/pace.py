"""How slowly a client may send a body."""

import asyncio
from collections.abc import AsyncGenerator, Callable

from starlette.requests import ClientDisconnect
from starlette.types import Message, Receive

from service.errors import TooSlow

LEAST_BYTES_A_SECOND = 1024  # of a body, or of an answer, on average, once it has taken long


def _never() -> float:
    return 0.0


async def pieces(
    receive: Receive, longest: float, least: int, kept_waiting_until: Callable[[], float] = _never
) -> AsyncGenerator[bytes, None]:
    """The pieces of a body as they come.

    Raises ClientDisconnect when the client is gone, TooSlow when nothing comes for `longest` seconds, and when after so
    long it came with less than `least` bytes a second. Only the time in which the client is waited for counts, not what
    is done with the pieces meanwhile, nor what comes before `kept_waiting_until`: the time, by the clock of the event
    loop, until which the client may have waited for a part of the answer.
    """
    clock = _Clock(receive, longest, least, kept_waiting_until)
    more = True
    try:
        while more:
            piece, more = await clock.next()
            if piece:
                yield piece
    finally:
        clock.stop()


async def whole(receive: Receive, longest: float, least: int) -> bytes:
    """A short body, without what `pieces` takes for long ones. Raises as they do."""
    clock = _Clock(receive, longest, least)
    try:
        body, more = await clock.next()
        while more:
            piece, more = await clock.next()
            body += piece
        return body
    finally:
        clock.stop()


class _Clock:
    """What asyncio.timeout does, with one timer for all waits: that of each would take longer than a short body."""

    def __init__(
        self, receive: Receive, longest: float, least: int, kept_waiting_until: Callable[[], float] = _never
    ) -> None:
        self._receive, self._longest, self._least = receive, longest, least
        self._kept_waiting_until = kept_waiting_until
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None
        self._waiting: asyncio.Task[object] | None = None
        self._since = 0.0
        self._is_over = False
        self._waited, self._came = 0.0, 0

    async def next(self) -> tuple[bytes, bool]:
        """The next piece, and whether there are more."""
        message = await self._wait()
        if message["type"] == "http.disconnect":
            raise ClientDisconnect
        piece: bytes = message.get("body", b"")
        self._waited += self._loop.time() - self._since
        self._came += len(piece)
        if self._waited > self._longest and self._came < self._waited * self._least:
            raise TooSlow(f"The body came with less than {self._least:,} bytes a second.")
        return piece, message.get("more_body", False)

    async def _wait(self) -> Message:
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 (it is one that waits)
        cancelled = task.cancelling()
        self._waiting, self._since = task, self._loop.time()
        if self._timer is None:
            self._timer = self._loop.call_later(self._longest, self._check)
        try:
            return await self._receive()
        except asyncio.CancelledError:
            # Somebody else may have cancelled the task too.
            if self._is_over and task.uncancel() <= cancelled:
                raise TooSlow(f"Nothing came of the body for {self._longest:g} seconds.") from None
            raise
        finally:
            self._waiting = None

    def _check(self) -> None:
        self._timer = None
        if self._waiting is None:
            return  # the next wait sets a new one
        left = max(self._since, self._kept_waiting_until()) + self._longest - self._loop.time()
        if left > 0:
            self._timer = self._loop.call_later(left, self._check)
        else:
            self._is_over = True
            self._waiting.cancel()

    def stop(self) -> None:
        """Waits no more."""
        if self._timer is not None:
            self._timer.cancel()
