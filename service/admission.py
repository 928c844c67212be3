"""Admission control: how many bytes of bodies are in memory, and how many uploads in the database, at once."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from service.shares import ANONYMOUS, Shares, caller, part_of, reserve_of

SHORT_BYTES = 64 * 1024  # of each request pass without admission


class Admission:
    """Bounds the bytes of the bodies that are in memory together, and the uploads that are stored together.

    Of both a caller has a `share`, of the bytes enough for a body of the `largest` size. A request waits for `wait`
    seconds at most; then Busy is raised.
    """

    def __init__(self, *, body_bytes: int, largest: int, uploads: int, share: float, wait: float) -> None:
        part = max(part_of(body_bytes, share), largest)
        what = "bytes of large bodies are on their way"
        self._bodies = Shares(body_bytes, part=part, reserve=0, wait=wait, what=what)
        part, reserve = part_of(uploads, share), reserve_of(uploads, share)
        self._uploads = Shares(uploads, part=part, reserve=reserve, wait=wait, what="uploads are being stored")

    async def acquire(self, size: int, *, patient: bool = False) -> int:
        """Takes `size` bytes of memory for the caller, and returns the amount for `release`."""
        return await self._bodies.acquire(caller.get(ANONYMOUS), size, patient=patient)

    def release(self, size: int) -> None:
        """Gives back what `acquire` has taken."""
        self._bodies.release(caller.get(ANONYMOUS), size)

    @asynccontextmanager
    async def upload(self, *, patient: bool = False) -> AsyncIterator[None]:
        """A turn for storing an upload. A stream is `patient`: it waits as long as it takes."""
        who = caller.get(ANONYMOUS)
        await self._uploads.acquire(who, patient=patient)
        try:
            yield
        finally:
            self._uploads.release(who)
