"""A stream into its records: lines of JSON, or MessagePack one after the other, however they are cut into pieces."""

from collections.abc import Iterator

import msgpack

from service.uploads.limits import MAX_RECORD_BYTES


class Stop(Exception):
    """The stream ends here; the message says why."""


class Lines:
    """Records that end with a newline; empty lines are passed over."""

    def __init__(self) -> None:
        self._rest = bytearray()

    @property
    def waiting(self) -> int:
        """How many bytes of an incomplete record there are."""
        return len(self._rest)

    def feed(self, piece: bytes) -> Iterator[bytes]:
        """The records that are complete with this piece. Raises Stop for one that is too long."""
        *whole, rest = piece.split(b"\n")
        for part in whole:
            line = bytes(self._rest) + part if self._rest else part
            self._rest.clear()
            if len(line) > MAX_RECORD_BYTES:
                raise Stop(_too_long())
            if line.strip():
                yield line
        self._rest += rest
        if len(self._rest) > MAX_RECORD_BYTES:
            raise Stop(_too_long())

    def finish(self) -> Iterator[bytes]:
        """The last record, when no newline follows it."""
        if self._rest.strip():
            yield bytes(self._rest)


class Packed:
    """MessagePack records, one after the other."""

    def __init__(self) -> None:
        self._unpacker = msgpack.Unpacker(max_buffer_size=2 * MAX_RECORD_BYTES)
        self._rest = bytearray()
        self._begin = 0  # of the rest, as the unpacker counts

    @property
    def waiting(self) -> int:
        """How many bytes of an incomplete record there are."""
        return len(self._rest)

    def feed(self, piece: bytes) -> Iterator[bytes]:
        """The records that are complete with this piece. Raises Stop for one that is too long, or none."""
        if len(self._rest) + len(piece) > 2 * MAX_RECORD_BYTES:
            raise Stop(_too_long())
        self._rest += piece
        self._unpacker.feed(piece)
        used = 0
        while True:
            try:
                self._unpacker.skip()
            except msgpack.OutOfData:
                break
            except (msgpack.UnpackException, ValueError):
                raise Stop(f"Byte {self._begin + used} of the stream begins no MessagePack record.") from None
            end = self._unpacker.tell() - self._begin
            yield bytes(self._rest[used:end])
            used = end
        self._begin += used
        del self._rest[:used]
        if len(self._rest) > MAX_RECORD_BYTES:
            raise Stop(_too_long())

    def finish(self) -> Iterator[bytes]:
        """Nothing. Raises Stop when the last record is not complete."""
        if self._rest:
            raise Stop("The stream ends within a record.")
        return iter(())


def _too_long() -> str:
    return f"A record may have at most {MAX_RECORD_BYTES:,} bytes."
