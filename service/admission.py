"""How much may go on at once: bodies in memory, and uploads in the database. Small requests pass in any case."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from service.shares import ANONYMOUS, Shares, caller, part_of, reserve_of

SHORT_BYTES = 64 * 1024  # of a body need no room


class Gate:
    """Bounds the bytes of the bodies that are in memory together, and the uploads that are stored together.

    Of both a caller has a `share`, of the bytes enough for a body of the `largest` size. Whoever finds no room waits
    for `wait` seconds at most. Raises Busy then.
    """

    def __init__(self, *, body_bytes: int, largest: int, uploads: int, share: float, wait: float) -> None:
        part = max(part_of(body_bytes, share), largest)
        what = "bytes of large bodies are on their way"
        self._bodies = Shares(body_bytes, part=part, reserve=0, wait=wait, what=what)
        part, reserve = part_of(uploads, share), reserve_of(uploads, share)
        self._uploads = Shares(uploads, part=part, reserve=reserve, wait=wait, what="uploads are being stored")

    async def enter(self, size: int, *, patient: bool = False) -> int:
        """Makes room for so many bytes of the caller's, and returns what is to be given back by `leave`."""
        return await self._bodies.enter(caller.get(ANONYMOUS), size, patient=patient)

    def leave(self, room: int) -> None:
        """Gives back what `enter` has taken."""
        self._bodies.leave(caller.get(ANONYMOUS), room)

    @asynccontextmanager
    async def upload(self, *, patient: bool = False) -> AsyncIterator[None]:
        """A turn for storing an upload. A stream is `patient`, and waits as long as it takes."""
        who = caller.get(ANONYMOUS)
        await self._uploads.enter(who, patient=patient)
        try:
            yield
        finally:
            self._uploads.leave(who)
