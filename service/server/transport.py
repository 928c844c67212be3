"""The transport of a connection."""

import asyncio
from typing import Any


class JoinedWrites(asyncio.Transport):
    """A transport that sends the head of an answer together with the first piece of its body.

    uvicorn writes them one after the other, which is two packets, and wakes the client twice: 0.1 ms of a search. A
    head whose body is not ready in the same turn of the event loop goes alone.
    """

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__()
        self._transport, self._loop = transport, loop
        self._head: bytes | None = None

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """As the transport's own, but for a head, which may wait until the end of this turn."""
        if self._head is not None:
            head, self._head = self._head, None
            self._transport.writelines([head, data])
        elif bytes(data[:9]) == b"HTTP/1.1 ":
            self._head = bytes(data)
            self._loop.call_soon(self._flush)
        else:
            self._transport.write(data)

    def get_write_buffer_size(self) -> int:
        """Bytes that are not sent yet."""
        return self._transport.get_write_buffer_size() + len(self._head or b"")

    def write_eof(self) -> None:
        """Closes the sending side of the connection."""
        self._flush()
        self._transport.write_eof()

    def close(self) -> None:
        """Closes the connection when all is sent."""
        self._flush()
        self._transport.close()

    def abort(self) -> None:
        """Closes the connection at once."""
        self._transport.abort()

    def is_closing(self) -> bool:
        """Whether the connection is closed, or will be."""
        return self._transport.is_closing()

    def can_write_eof(self) -> bool:
        """Whether the sending side can be closed alone."""
        return self._transport.can_write_eof()

    def pause_reading(self) -> None:
        """Takes nothing more from the client."""
        self._transport.pause_reading()

    def resume_reading(self) -> None:
        """Goes on reading from the client."""
        self._transport.resume_reading()

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """What is known of the connection."""
        return self._transport.get_extra_info(name, default)

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        """Hands the connection to another protocol."""
        self._transport.set_protocol(protocol)

    def _flush(self) -> None:
        if self._head is not None:
            head, self._head = self._head, None
            if not self._transport.is_closing():  # the client may have gone in this turn
                self._transport.write(head)
