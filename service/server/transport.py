"""The transport of a connection."""

import asyncio
from typing import Any


class JoinedWrites:
    """A transport that sends the head of an answer together with the first piece of its body.

    uvicorn writes them separately, which sends two packets and wakes the client twice: 0.1 ms of a search. A head
    without a body in the same turn of the event loop is sent alone.
    """

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        self._transport, self._loop = transport, loop
        self._head: bytes | None = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Sends data; a head may wait until the end of this turn of the event loop."""
        if self._head is not None:
            head, self._head = self._head, None
            self._transport.writelines([head, data])
        elif bytes(data[:9]) == b"HTTP/1.1 ":
            self._head = bytes(data)
            self._loop.call_soon(self._flush)
        else:
            self._transport.write(data)

    def get_write_buffer_size(self) -> int:
        """Unsent bytes."""
        return self._transport.get_write_buffer_size() + len(self._head or b"")

    def write_eof(self) -> None:
        """Closes the sending side of the connection."""
        self._flush()
        self._transport.write_eof()

    def close(self) -> None:
        """Closes the connection after sending everything."""
        self._flush()
        self._transport.close()

    def _flush(self) -> None:
        if self._head is not None:
            head, self._head = self._head, None
            if not self._transport.is_closing():  # the client may have disconnected in this turn
                self._transport.write(head)
