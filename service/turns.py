"""Turns on the event loop: work that takes long is done in pieces, and others go on between them."""

import asyncio
import time

SECONDS = 0.005  # that a piece of work may take before others have their turn


class Turns:
    """Gives others their turn when enough time has passed since they last had it."""

    def __init__(self) -> None:
        self._since = time.perf_counter()

    async def give(self) -> None:
        """To be called between pieces of work, each of which takes a few milliseconds at most."""
        if time.perf_counter() - self._since > SECONDS:
            await asyncio.sleep(0)
            self._since = time.perf_counter()
