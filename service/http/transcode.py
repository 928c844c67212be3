"""Large JSON into MessagePack, token by token, with others' turns between.

To decode a megabyte of small lists at once takes a tenth of a second, and to encode it again as long.
"""

import re
from collections.abc import Iterator

import msgspec

from service.turns import Turns

TOKENS_AT_ONCE = 1000
_TOKEN = re.compile(rb'\s*(?:([\[{])|([\]}])|([,:])|("(?:[^"\\]|\\.)*"|[^\s,:\[\]{}"]+))')


class _Open:
    """An array or object that is not closed yet: what it holds, packed, and whether it holds anything."""

    def __init__(self, *, is_object: bool) -> None:
        self.is_object = is_object
        self.parts: list[bytes] = []

    def packed(self) -> bytes:
        count = len(self.parts) // 2 if self.is_object else len(self.parts)
        return (b"\xdf" if self.is_object else b"\xdd") + count.to_bytes(4, "big") + b"".join(self.parts)


async def to_msgpack(text: bytes) -> bytes:
    """The MessagePack of valid JSON, as PostgreSQL writes it. Integers that MessagePack has not become floats."""
    stack = [_Open(is_object=False)]
    turns = Turns()
    for place, (opening, closing, scalar) in enumerate(_tokens(text)):
        if opening:
            stack.append(_Open(is_object=opening == b"{"))
        elif closing:
            done = stack.pop()
            stack[-1].parts.append(done.packed())
        elif scalar:
            stack[-1].parts.append(_scalar(scalar))
        if place % TOKENS_AT_ONCE == 0:
            await turns.give()
    return stack[0].parts[0]


def _tokens(text: bytes) -> Iterator[tuple[bytes, bytes, bytes]]:
    for token in _TOKEN.finditer(text):
        yield token[1], token[2], token[4]


def _scalar(text: bytes) -> bytes:
    value = msgspec.json.decode(text)
    try:
        return msgspec.msgpack.encode(value)
    except OverflowError:
        return msgspec.msgpack.encode(packable(value))


def packable(value: int) -> float | str:
    """What stands for an integer that MessagePack has not: PostgreSQL's jsonb writes 1e300 as an integer."""
    try:
        return float(value)
    except OverflowError:
        return str(value)  # no double is so large
