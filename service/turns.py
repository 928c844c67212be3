"""Cooperation on the event loop: long work in pieces, with turns for other requests, and background tasks."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable
from typing import Any, TypeVar

S = TypeVar("S")
T = TypeVar("T")

SECONDS = 0.005  # of work before other requests get a turn


class Turns:
    """Yields to other requests when enough time has passed since the last turn."""

    def __init__(self) -> None:
        self._since = time.perf_counter()

    async def give(self) -> None:
        """Call between pieces of work of a few milliseconds."""
        if time.perf_counter() - self._since > SECONDS:
            await asyncio.sleep(0)
            self._since = time.perf_counter()


async def converted(items: Iterable[S], convert: Callable[[S], T]) -> list[T]:
    """The converted items, with turns between them."""
    turns, done = Turns(), []
    for item in items:
        done.append(convert(item))
        await turns.give()
    return done


@contextlib.asynccontextmanager
async def beside(work: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    """Runs a background task during the block, and cancels it at the end."""
    running = asyncio.create_task(work)
    try:
        yield
    finally:
        while not running.done():  # a task that waits for a lost server may handle the cancellation as an error
            running.cancel()
            await asyncio.wait([running], timeout=1)
        if not running.cancelled():
            running.result()
