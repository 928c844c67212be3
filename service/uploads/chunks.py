"""Chunks of the records of a stream, limited by number, size, and age of the first record.

A stream reserves memory in admission control when a chunk becomes large; an idle stream has none.
"""

import asyncio
from collections import deque
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

from service import decoding
from service.admission import SHORT_BYTES, Shares, caller
from service.decoding import Wire
from service.errors import ApiError
from service.uploads.framing import Lines, Packed, Stop
from service.uploads.limits import CHUNK_BYTES, CHUNK_ROOM, CHUNK_ROWS, CHUNK_SECONDS


class Chunks:
    """The chunks of a stream. Call `acknowledge` after a line of the answer has reported a chunk."""

    def __init__(self, wire: Wire, memory: Shares, draining: asyncio.Event) -> None:
        self._wire, self._memory, self._draining = wire, memory, draining
        self._chunk: list[bytes] = []  # the current chunk
        self._size = 0
        self._due: asyncio.Task[None] | None = None  # ends when the chunk must be stored
        self._has_ended = False  # no further chunk begins
        self._room = 0  # memory for the current chunk
        self._rooms: deque[int] = deque()  # memory for the chunks not reported yet
        self._is_idle = asyncio.Event()
        self._is_idle.set()
        self._reported_at = 0.0

    def kept_waiting_until(self) -> float:
        """The last time (of the event loop's clock) at which the client may have waited for a line."""
        return self._reported_at if self._due is None and not self._rooms else asyncio.get_running_loop().time()

    @property
    def is_last(self) -> bool:
        """Whether the next chunk to report is the last one."""
        return self._has_ended and len(self._rooms) == 1

    def acknowledge(self) -> None:
        """Records that a line has reported a chunk, and releases its memory."""
        self._memory.release(caller.get(), self._rooms.popleft())
        self._reported_at = asyncio.get_running_loop().time()
        if not self._rooms:
            self._is_idle.set()

    def leave_room(self) -> None:
        """Releases all memory at the end of the stream."""
        self._memory.release(caller.get(), self._room + sum(self._rooms))

    async def of(self, body: AsyncGenerator[bytes, None]) -> AsyncGenerator[list[bytes], None]:
        """Yields the records of a body in chunks."""
        split = Lines() if self._wire is decoding.JSON else Packed()
        try:
            async with aclosing(self._pieces(body)) as pieces:
                async for piece in pieces:
                    if piece is None:
                        yield self._cut()
                        continue
                    if not self._room and self._size + len(split.rest) + len(piece) > SHORT_BYTES:
                        self._room = await self._memory.acquire(caller.get(), CHUNK_ROOM, patient=True)
                    for record in split.feed(piece):
                        if self._chunk and self._size + len(record) > CHUNK_BYTES:
                            yield self._cut()
                        self._chunk.append(record)
                        self._size += len(record)
                        if len(self._chunk) == CHUNK_ROWS:
                            yield self._cut()
                    if self._chunk and self._due is None:
                        self._due = asyncio.create_task(self._wait_until_due())
            self._has_ended = True
            self._chunk += split.finish()
        except (Stop, ApiError):
            self._has_ended = True
            if self._chunk:  # the earlier records are valid
                yield self._cut()
            raise
        finally:
            if self._due is not None:
                self._due.cancel()
        if self._chunk:
            yield self._cut()

    def _cut(self) -> list[bytes]:
        """Returns the chunk, and begins the next one."""
        if self._due is not None:
            self._due.cancel()
        chunk, self._chunk, self._size, self._due = self._chunk, [], 0, None
        self._rooms.append(self._room)
        self._room = 0
        self._is_idle.clear()
        return chunk

    async def _wait_until_due(self) -> None:
        """Waits until the chunk must be stored, but not while another one is being stored."""
        await asyncio.sleep(CHUNK_SECONDS)
        await self._is_idle.wait()

    async def _pieces(self, body: AsyncGenerator[bytes, None]) -> AsyncGenerator[bytes | None, None]:
        """Yields the pieces of a body, and None when a chunk is due. Raises Stop during a shutdown."""
        waiting: asyncio.Future[bytes | None] | None = None
        stopping: asyncio.Future[Any] = asyncio.ensure_future(self._draining.wait())
        try:
            while True:
                # Not cancelled if another event comes first: a piece could be lost.
                waiting = waiting or asyncio.ensure_future(anext(body, None))
                any_of = [waiting, stopping, *([self._due] if self._due is not None else ())]
                await asyncio.wait(any_of, return_when=asyncio.FIRST_COMPLETED)
                if stopping.done():
                    raise Stop("The service is shutting down; the remaining records were not stored. Send them again.")
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
