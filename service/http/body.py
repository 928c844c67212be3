"""Request bodies, read within limits of size and time."""

import asyncio
import contextlib
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping
from contextlib import aclosing
from functools import cached_property

from starlette.requests import ClientDisconnect
from starlette.types import Message, Receive

from service.admission import SHORT_BYTES, Shares, caller
from service.decoding import JSON as JSON_WIRE
from service.decoding import MESSAGE_PACK, Wire
from service.errors import ContentTooLarge, Problem, TooSlow, UnsupportedEncoding, UnsupportedMediaType
from service.http import compression
from service.http.limits import LEAST_BYTES_A_SECOND, LINGER_SECONDS, ROOM_STEP
from service.http.responses import JSON, MSGPACK

MERGE_PATCH = "application/merge-patch+json"


class Body:
    """The body of a request. `seconds` limits the pause between two pieces.

    `consumes` are the media types of the endpoint; a body without one has the first.
    """

    consumes: tuple[str, ...] = (JSON,)

    def __init__(self, headers: Mapping[str, str], receive: Receive, memory: Shares, seconds: float) -> None:
        self._headers, self._receive, self._memory, self._seconds = headers, receive, memory, seconds
        self._room = 0
        self._kept: Message | None = None
        length = headers.get("content-length", "" if "transfer-encoding" in headers else "0")
        # Cut, because Python limits the digits of int().
        self._announced = int(length.lstrip("0")[:20] or "0") if length.isdecimal() else None

    async def has_come(self) -> bool:
        """Whether the whole body has arrived. It can then be read without a wait, and more than once."""
        if self._kept is None and "expect" not in self._headers:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(0):
                    self._kept = await self._receive()
        return self._kept is not None and not self._kept.get("more_body", True)

    @cached_property
    def wire(self) -> Wire:
        """The format of the body. Raises UnsupportedMediaType, also for a charset other than UTF-8."""
        header = self._headers.get("content-type") or self.consumes[0]
        kind, *parameters = [part.strip().lower() for part in header.split(";")]
        charset = next((p.removeprefix("charset=").strip('"') for p in parameters if p.startswith("charset=")), "utf-8")
        if kind not in self.consumes or charset not in ("utf-8", "utf8"):
            right = f"must be {' or '.join(self.consumes)} in UTF-8"
            problem = Problem(right, "header.content-type", header[:200])
            raise UnsupportedMediaType(f"The body {right}.", [problem])
        return MESSAGE_PACK if kind == MSGPACK else JSON_WIRE

    async def read(self, limit: int) -> bytes:
        """The whole body, decompressed. The size is counted while reading, not taken from the headers.

        Raises ContentTooLarge above `limit` bytes, Busy without memory for it, and the errors of `wire` and `chunks`.
        """
        _ = self.wire  # a wrong media type is refused before the body is read
        too_large = (self._announced or 0) > limit
        if too_large and self._headers.get("expect", "").lower() == "100-continue":
            raise ContentTooLarge(f"The body may have at most {limit} bytes.")  # the client waits before it sends
        most = limit if self._announced is None or "content-encoding" in self._headers else self._announced
        room = SHORT_BYTES
        body = bytearray()
        async with aclosing(self.chunks(least=LEAST_BYTES_A_SECOND)) as chunks:
            async for chunk in chunks:
                if too_large or len(body) + len(chunk) > limit:
                    await _discard(chunks, limit)
                    raise ContentTooLarge(f"The body may have at most {limit} bytes.")
                body += chunk
                if len(body) > room:
                    # In steps, so that announcing a large body without sending it reserves no memory.
                    more = max(len(body), min(len(body) + ROOM_STEP, most)) - room
                    await self.make_room(more)
                    room += more
        return bytes(body)

    def chunks(
        self, kept_waiting_until: Callable[[], float] = lambda: 0.0, *, least: int = 0
    ) -> AsyncGenerator[bytes, None]:
        """Yields the body in pieces as it arrives, decompressed to at most 256 KiB each.

        Raises UnsupportedEncoding for an unknown Content-Encoding, BadRequest for invalid compressed data,
        ClientDisconnect, and TooSlow when nothing arrives for too long, or less than `least` bytes a second on average
        after that time. Only the time that the service waits for the client counts, after `kept_waiting_until`: the
        time (of the event loop's clock) until which the client may have waited for a part of the answer.
        """
        encoding = self._headers.get("content-encoding", "").strip().lower() or "identity"
        encoding = compression.OLDER_NAMES.get(encoding, encoding)
        pieces = self._pieces(least, kept_waiting_until)
        if encoding == "identity":
            return pieces
        if encoding in compression.ENCODINGS:
            return _decompressed(encoding, pieces)
        known = ", ".join(compression.ENCODINGS)
        problem = Problem(f"must be one of {known}", "header.content-encoding", encoding[:200])
        raise UnsupportedEncoding(problems=[problem])

    async def _pieces(self, least: int, kept_waiting_until: Callable[[], float]) -> AsyncGenerator[bytes, None]:
        loop = asyncio.get_running_loop()
        waited, came = 0.0, 0
        more = True
        while more:
            since = loop.time()
            message = await self._next(since, kept_waiting_until)
            if message["type"] == "http.disconnect":
                raise ClientDisconnect
            piece: bytes = message.get("body", b"")
            waited += loop.time() - since
            came += len(piece)
            if waited > self._seconds and came < waited * least:
                raise TooSlow(f"The body arrived with less than {least:,} bytes a second.")
            if piece:
                yield piece
            more = message.get("more_body", False)

    async def _next(self, since: float, kept_waiting_until: Callable[[], float]) -> Message:
        if self._kept is not None:
            kept = self._kept
            if kept.get("more_body", False):
                self._kept = None
            return kept
        while True:
            end = max(since, kept_waiting_until()) + self._seconds
            try:
                async with asyncio.timeout_at(end) as timeout:
                    return await self._receive()
            except TimeoutError:
                if not timeout.expired():
                    raise
                if max(since, kept_waiting_until()) + self._seconds <= end:
                    raise TooSlow(f"No part of the body arrived for {self._seconds:g} seconds.") from None

    async def make_room(self, size: int) -> None:
        """Reserves `size` bytes of memory for the request until its answer is sent. Raises Busy.

        At most the caller's part in all, because a request would wait in vain for more than that.
        """
        if left := min(size, self._memory.part - self._room):
            self._room += await self._memory.acquire(caller.get(), left)

    def leave_room(self) -> None:
        """Releases the memory."""
        if self._room:
            self._memory.release(caller.get(), self._room)
            self._room = 0


async def _decompressed(encoding: str, pieces: AsyncGenerator[bytes, None]) -> AsyncGenerator[bytes, None]:
    decompressor = compression.Decompressor(encoding)
    async with aclosing(pieces) as compressed:
        async for piece in compressed:
            for slice_ in decompressor.feed(piece):
                yield slice_
                await asyncio.sleep(0)  # a small piece may decompress to a large one
    decompressor.finish()


async def _discard(chunks: AsyncIterator[bytes], limit: int) -> None:
    """Reads on for a while, so that a client that is still sending gets the answer instead of a reset."""
    with contextlib.suppress(TimeoutError, TooSlow):
        async with asyncio.timeout(LINGER_SECONDS):
            async for chunk in chunks:
                limit -= len(chunk)
                if limit < 0:
                    return
