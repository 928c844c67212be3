"""A stream's records, put together into chunks: by number, by size, or when the first has waited long enough.

A stream takes room in memory for a chunk when it becomes large, and waits for it; one that is idle has none.
"""

import asyncio
from collections import deque
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

from service import decoding
from service.admission import SHORT_BYTES, Admission
from service.decoding import Wire
from service.errors import ApiError
from service.uploads.framing import Lines, Packed, Stop
from service.uploads.limits import CHUNK_BYTES, CHUNK_ROOM, CHUNK_ROWS, CHUNK_SECONDS


class Chunks:
    """The chunks of one stream. Whoever stores them calls `note_said` when a line has told of one."""

    def __init__(self, wire: Wire, admission: Admission, draining: asyncio.Event) -> None:
        self._wire, self._admission, self._draining = wire, admission, draining
        self._chunk: list[bytes] = []  # the records that come, and their size
        self._size = 0
        self._due: asyncio.Task[None] | None = None  # ends when they have waited long enough
        self._owed = 0  # chunks of which no line has said anything yet
        self._room = 0  # for the records that come
        self._rooms: deque[int] = deque()  # for the chunks that are owed
        self._is_idle = asyncio.Event()
        self._is_idle.set()
        self._said_at = 0.0

    def kept_waiting_until(self) -> float:
        """Until when the client may have waited for a line instead of sending, by the clock of the event loop."""
        return self._said_at if self._due is None and not self._owed else asyncio.get_running_loop().time()

    def note_said(self) -> None:
        """Notes that a line has told of a chunk."""
        self._admission.release(self._rooms.popleft())
        self._owed -= 1
        self._said_at = asyncio.get_running_loop().time()
        if not self._owed:
            self._is_idle.set()

    def leave_room(self) -> None:
        """Gives back all room, when the stream has ended."""
        self._admission.release(self._room + sum(self._rooms))

    async def of(self, body: AsyncGenerator[bytes, None]) -> AsyncGenerator[list[bytes], None]:
        """Records, put together until there are enough, or the first of them has waited for long enough."""
        split = Lines() if self._wire is decoding.JSON else Packed()
        try:
            async with aclosing(self._pieces(body)) as pieces:
                async for piece in pieces:
                    if piece is None:
                        yield self._cut()
                        continue
                    if not self._room and self._size + split.waiting + len(piece) > SHORT_BYTES:
                        self._room = await self._admission.acquire(CHUNK_ROOM, patient=True)
                    for record in split.feed(piece):
                        if self._chunk and self._size + len(record) > CHUNK_BYTES:
                            yield self._cut()
                        self._chunk.append(record)
                        self._size += len(record)
                        if len(self._chunk) == CHUNK_ROWS:
                            yield self._cut()
                    if self._chunk and self._due is None:
                        self._due = asyncio.create_task(self._wait_until_due())
            self._chunk += split.finish()
        except (Stop, ApiError):
            if self._chunk:  # what came before is as good as ever
                yield self._cut()
            raise
        finally:
            if self._due is not None:
                self._due.cancel()
        if self._chunk:
            yield self._cut()

    def _cut(self) -> list[bytes]:
        """The chunk, to be stored; the next one begins."""
        if self._due is not None:
            self._due.cancel()
        chunk, self._chunk, self._size, self._due = self._chunk, [], 0, None
        self._rooms.append(self._room)
        self._room = 0
        self._owed += 1
        self._is_idle.clear()
        return chunk

    async def _wait_until_due(self) -> None:
        """Waits as long as a record may. While another chunk is being stored, more may join it."""
        await asyncio.sleep(CHUNK_SECONDS)
        await self._is_idle.wait()

    async def _pieces(self, body: AsyncGenerator[bytes, None]) -> AsyncGenerator[bytes | None, None]:
        """The pieces of a body, and None when a chunk is due. Raises Stop when the service is to stop."""
        waiting: asyncio.Future[bytes | None] | None = None
        stopping: asyncio.Future[Any] = asyncio.ensure_future(self._draining.wait())
        try:
            while True:
                # It goes on when something else comes first: to cancel it would lose what it brings.
                waiting = waiting or asyncio.ensure_future(anext(body, None))
                any_of = [waiting, stopping, *([self._due] if self._due is not None else ())]
                await asyncio.wait(any_of, return_when=asyncio.FIRST_COMPLETED)
                if stopping.done():
                    raise Stop("The service is stopping. What follows was not stored: send it again.")
                if self._due is not None and self._due.done():
                    yield None
                elif waiting.done():
                    arrived, waiting = waiting, None
                    if (piece := arrived.result()) is None:
                        return
                    yield piece
        finally:
            stopping.cancel()
            if waiting is not None:
                waiting.cancel()
                await asyncio.gather(waiting, return_exceptions=True)
            await body.aclose()
