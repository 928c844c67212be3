"""Turns on the event loop: long work is done in pieces, with turns for other requests between."""

import asyncio
import time

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
