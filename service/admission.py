"""Admission control: limits on the memory for request bodies and on concurrent uploads."""

import math
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from service.shares import ANONYMOUS, Shares, caller, for_callers

SHORT_BYTES = 64 * 1024  # of each request need no admission


class Admission:
    """Limits the total bytes of bodies in memory, and the number of uploads stored at once.

    A caller gets at most a `share` of each, but always enough bytes for a body of the `largest` size. A request waits
    at most `wait` seconds, then Busy is raised.
    """

    def __init__(self, *, body_bytes: int, largest: int, uploads: int, share: float, wait: float) -> None:
        part, what = max(math.ceil(share * body_bytes), largest), "bytes of large requests and answers in memory"
        self._bodies = Shares(body_bytes, part=part, reserve=0, wait=wait, what=what)
        self.part = self._bodies.part  # bytes for a caller
        self._uploads = for_callers(uploads, share, wait=wait, what="uploads in progress")

    async def acquire(self, size: int, *, patient: bool = False) -> int:
        """Reserves `size` bytes for the caller, and returns the amount for `release`."""
        return await self._bodies.acquire(caller.get(ANONYMOUS), size, patient=patient)

    def release(self, size: int) -> None:
        """Returns bytes reserved by `acquire`."""
        self._bodies.release(caller.get(ANONYMOUS), size)

    @asynccontextmanager
    async def upload(self, *, patient: bool = False) -> AsyncIterator[None]:
        """Holds an upload slot during the block. A `patient` caller waits without limit."""
        who = caller.get(ANONYMOUS)
        await self._uploads.acquire(who, patient=patient)
        try:
            yield
        finally:
            self._uploads.release(who)
