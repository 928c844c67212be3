"""Turns on the event loop: long work is done in pieces, with turns for other requests between, or beside."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Coroutine
from typing import Any

SECONDS = 0.005  # of work before other requests get a turn


class Turns:
    """Gives other requests a turn when enough time has passed since the last one."""

    def __init__(self) -> None:
        self._since = time.perf_counter()

    async def give(self) -> None:
        """To be called between pieces of work of a few milliseconds."""
        if time.perf_counter() - self._since > SECONDS:
            await asyncio.sleep(0)
            self._since = time.perf_counter()


@contextlib.asynccontextmanager
async def beside(work: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    """Runs work that does not end beside the block, and cancels it after."""
    running = asyncio.create_task(work)
    try:
        yield
    finally:
        while not running.done():  # work that is cancelled while it waits for a lost server may take it for an error
            running.cancel()
            await asyncio.wait([running], timeout=1)
        if not running.cancelled():
            running.result()
