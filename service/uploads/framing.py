"""Splitting of streams into records: lines of JSON, or consecutive MessagePack objects."""

from collections.abc import Iterator

import msgpack

from service.uploads.limits import MAX_RECORD_BYTES

_TOO_LONG = f"A record may have at most {MAX_RECORD_BYTES:,} bytes."


class Stop(Exception):
    """The stream ends early; the message gives the reason."""


class Lines:
    """Records that end with a newline; empty lines are ignored."""

    def __init__(self) -> None:
        self.rest = bytearray()  # an incomplete record

    def feed(self, piece: bytes) -> Iterator[bytes]:
        """The records completed by this piece. Raises Stop for a record that is too long."""
        *whole, rest = piece.split(b"\n")
        for part in whole:
            line = bytes(self.rest) + part if self.rest else part
            self.rest.clear()
            if len(line) > MAX_RECORD_BYTES:
                raise Stop(_TOO_LONG)
            if line.strip():
                yield line
        self.rest += rest
        if len(self.rest) > MAX_RECORD_BYTES:
            raise Stop(_TOO_LONG)

    def finish(self) -> Iterator[bytes]:
        """The last record, if it does not end with a newline."""
        if self.rest.strip():
            yield bytes(self.rest)


class Packed:
    """Consecutive MessagePack records."""

    def __init__(self) -> None:
        self._unpacker = msgpack.Unpacker(max_buffer_size=2 * MAX_RECORD_BYTES)
        self.rest = bytearray()  # an incomplete record
        self._begin = 0  # of the rest, in bytes of the unpacker

    def feed(self, piece: bytes) -> Iterator[bytes]:
        """The records completed by this piece. Raises Stop for a record that is too long or not MessagePack."""
        if len(self.rest) + len(piece) > 2 * MAX_RECORD_BYTES:
            raise Stop(_TOO_LONG)
        self.rest += piece
        self._unpacker.feed(piece)
        used = 0
        while True:
            try:
                self._unpacker.skip()
            except msgpack.OutOfData:
                break
            except (msgpack.UnpackException, ValueError):
                raise Stop(f"No MessagePack record begins at byte {self._begin + used} of the stream.") from None
            end = self._unpacker.tell() - self._begin
            yield bytes(self.rest[used:end])
            used = end
        self._begin += used
        del self.rest[:used]
        if len(self.rest) > MAX_RECORD_BYTES:
            raise Stop(_TOO_LONG)

    def finish(self) -> Iterator[bytes]:
        """Returns nothing. Raises Stop if the last record is incomplete."""
        if self.rest:
            raise Stop("The stream ends in the middle of a record.")
        return iter(())
