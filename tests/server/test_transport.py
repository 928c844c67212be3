"""Heads and bodies of answers on a real connection of uvloop, which the service runs on."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
import uvloop

from service.server.transport import JoinedWrites

HEAD, BODY = b"HTTP/1.1 200 OK\r\n\r\n", b"the body"


async def answered(write: Callable[[JoinedWrites, asyncio.Transport], None]) -> tuple[list[bytes], list[Any]]:
    """What a client reads, piece by piece, of what `write` writes; and the errors of callbacks."""
    loop = asyncio.get_running_loop()
    errors: list[Any] = []
    loop.set_exception_handler(lambda _, context: errors.append(context))

    class Server(asyncio.Protocol):
        def connection_made(self, transport: Any) -> None:
            self.joined = JoinedWrites(transport, loop)
            write(self.joined, transport)
            loop.call_later(0.2, transport.close)

        def connection_lost(self, _: Exception | None) -> None:
            if write is head_of_a_lost_connection:
                self.joined.write(HEAD)  # its turn ends after the connection's

    server = await loop.create_server(Server, "127.0.0.1", 0)
    async with server:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.sockets[0].getsockname()[1])
        pieces = []
        try:
            while piece := await reader.read(1000):
                pieces.append(piece)
        except ConnectionResetError:
            pass
        writer.close()
    return pieces, errors


def both(joined: JoinedWrites, _: asyncio.Transport) -> None:
    joined.write(HEAD)
    joined.write(BODY)
    joined.write(BODY)


def head_alone(joined: JoinedWrites, _: asyncio.Transport) -> None:
    joined.write(HEAD)
    assert joined.get_write_buffer_size() == len(HEAD)


def head_and_end(joined: JoinedWrites, _: asyncio.Transport) -> None:
    joined.write(HEAD)
    joined.close()


def head_of_a_lost_connection(_: JoinedWrites, transport: asyncio.Transport) -> None:
    transport.abort()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("write", "sent"),
    [(both, HEAD + 2 * BODY), (head_alone, HEAD), (head_and_end, HEAD), (head_of_a_lost_connection, b"")],
)
def test_all_is_sent_and_nothing_on_a_lost_connection(write: Any, sent: bytes) -> None:
    pieces, errors = uvloop.run(answered(write))
    assert b"".join(pieces) == sent
    assert errors == []
    assert len(pieces) <= 1
