"""How much may go on at once: bodies in memory, and uploads in the database. Small requests pass in any case."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from service.errors import Busy


class Gate:
    """Bounds the bytes of the bodies that are in memory together, and the uploads that are stored together.

    Whoever finds no room waits for `wait` seconds at most. Raises Busy then.
    """

    def __init__(self, *, body_bytes: int, uploads: int, wait: float) -> None:
        self._free = self._all = body_bytes
        self._wait = wait
        self._changed = asyncio.Condition()
        self._uploads = asyncio.Semaphore(uploads)

    async def enter(self, size: int) -> int:
        """Makes room for a body of so many bytes, and returns what is to be given back by `leave`."""
        room = min(size, self._all)  # one that is larger than all there is goes alone
        try:
            async with asyncio.timeout(self._wait), self._changed:
                await self._changed.wait_for(lambda: self._free >= room)
                self._free -= room
        except TimeoutError:
            raise Busy("Too many large bodies are on their way at once. Nothing was changed.") from None
        return room

    async def leave(self, room: int) -> None:
        """Gives back what `enter` has taken."""
        async with self._changed:
            self._free += room
            self._changed.notify_all()

    @asynccontextmanager
    async def upload(self, *, patient: bool = False) -> AsyncIterator[None]:
        """A turn for storing an upload. A stream is `patient`, and waits as long as it takes."""
        try:
            async with asyncio.timeout(None if patient else self._wait):
                await self._uploads.acquire()
        except TimeoutError:
            raise Busy("Too many uploads are being stored at once. Nothing was changed.") from None
        try:
            yield
        finally:
            self._uploads.release()
