"""Large JSON, token by token, with others' turns between: looked at, or made MessagePack.

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


async def fault(text: bytes, levels: int) -> str | None:
    """What keeps valid JSON from being stored: it is nested too deeply, or holds a NUL; None when nothing does.

    Raises what msgspec raises for a text or number that it cannot read.
    """
    depth = 0
    turns = Turns()
    for place, (opening, closing, scalar) in enumerate(_tokens(text)):
        depth += bool(opening) - bool(closing)
        if depth > levels:
            return f"must not be nested more than {levels} levels deep"
        if scalar and "\0" in str(msgspec.json.decode(scalar)):
            return "must not contain a NUL"
        if place % TOKENS_AT_ONCE == 0:
            await turns.give()
    return None


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
