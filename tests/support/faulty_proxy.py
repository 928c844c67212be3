"""A proxy that breaks things: it cuts connections after some bytes, answers in place of the service, or waits."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress

import msgspec

HEAD_END = b"\r\n\r\n"


class Fault(msgspec.Struct, frozen=True):
    """What a request meets: it waits `delay` seconds, then it is answered with `answer`, or the connection is cut.

    `cut_request` and `cut_answer` are the bytes of either that still pass.
    """

    delay: float = 0.0
    answer: bytes | None = None
    cut_request: int | None = None
    cut_answer: int | None = None


NONE = Fault()


def canned(status: int, *headers: str, body: bytes = b"") -> bytes:
    """An answer as a proxy would give it."""
    lines = [f"HTTP/1.1 {status} Said", *headers, f"Content-Length: {len(body)}"]
    return "\r\n".join([*lines, "", ""]).encode() + body


@asynccontextmanager
async def faulty_proxy(service_url: str, fault_of: Callable[[bytes], Fault]) -> AsyncIterator[str]:
    """Yields the URL of a proxy before the service; `fault_of` says from the head of a request what it meets."""
    port = int(service_url.rpartition(":")[2])
    closing = asyncio.Event()
    running: set[asyncio.Task[None]] = set()
    connections: set[asyncio.StreamWriter] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        running.add(task)
        upstream = await asyncio.open_connection("127.0.0.1", port)
        both = {writer, upstream[1]}
        connections.update(both)
        with suppress(asyncio.IncompleteReadError, ConnectionError):
            while await _one(reader, writer, *upstream, fault_of, closing):
                pass
        for one in both:
            one.transport.abort()
        connections.difference_update(both)
        running.discard(task)

    server = await asyncio.start_server(serve, "127.0.0.1", 0, limit=1024 * 1024)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        closing.set()
        for one in connections:
            one.transport.abort()
        await asyncio.gather(*running)


async def _one(
    reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
    from_service: asyncio.StreamReader,
    to_service: asyncio.StreamWriter,
    fault_of: Callable[[bytes], Fault],
    closing: asyncio.Event,
) -> bool:
    """Passes one request and its answer on; False when the connection is to be cut."""
    head = await reader.readuntil(HEAD_END)
    fault = fault_of(head)
    request = head + await reader.readexactly(_length(head))
    with suppress(asyncio.TimeoutError):
        await asyncio.wait_for(closing.wait(), fault.delay)
    if fault.answer is not None:
        writer.write(fault.answer)
        await writer.drain()
        return True
    to_service.write(request[: fault.cut_request])
    await to_service.drain()
    if fault.cut_request is not None:
        return False
    answer = await from_service.readuntil(HEAD_END)
    answer += await from_service.readexactly(_length(answer))
    writer.write(answer[: fault.cut_answer])
    await writer.drain()
    if fault.cut_answer is not None:
        await asyncio.sleep(0.01)  # what was written leaves before the cut
    return fault.cut_answer is None


def _length(head: bytes) -> int:
    _, found, rest = head.lower().partition(b"content-length:")
    return int(rest.split(b"\r\n")[0]) if found else 0
