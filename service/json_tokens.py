"""Large JSON, checked and converted from and to MessagePack token by token, with turns for other requests.

Decoding or encoding a megabyte of small lists in one step takes a tenth of a second.
"""

import math
import re
from collections.abc import Iterator
from typing import Any

import msgpack
import msgspec

from service.turns import Turns

TOKENS_AT_ONCE = 1000
# PostgreSQL writes a number of a jsonb without exponent: 1e-16000 would become 16,002 characters in each answer. With
# more than 16,383 decimals it refuses the number. The exponents of doubles are from -324 to 308.
MAX_DECIMALS = 15_000
_MODEST = re.compile(rb"-?\d+(?:\.\d{1,%d})?(?:[eE][+-]?0*[0-3]?\d{1,2})?" % MAX_DECIMALS)
_TOKEN = re.compile(rb'\s*(?:([\[{])|([\]}])|([,:])|("(?:[^"\\]|\\.)*"|[^\s,:\[\]{}"]+))')


async def to_msgpack(text: bytes) -> bytes:
    """Converts valid JSON from PostgreSQL to MessagePack. Integers beyond 64 bits become floats."""
    stack: list[tuple[bool, list[bytes]]] = [(False, [])]  # open arrays and objects, and their packed items
    turns = Turns()
    for place, (opening, closing, scalar) in enumerate(_tokens(text)):
        if opening:
            stack.append((opening == b"{", []))
        elif closing:
            is_object, items = stack.pop()
            head = b"\xdf%b" if is_object else b"\xdd%b"
            count = len(items) // 2 if is_object else len(items)
            stack[-1][1].append(head % count.to_bytes(4, "big") + b"".join(items))
        elif scalar:
            stack[-1][1].append(_scalar(scalar))
        if place % TOKENS_AT_ONCE == 0:
            await turns.give()
    return stack[0][1][0]


class NoJson(ValueError):
    """A value that JSON cannot represent or PostgreSQL cannot store; the message names the problem."""


def too_deep(levels: int) -> NoJson:
    """The error for a value that is nested too deeply."""
    return NoJson(f"must not be nested more than {levels} levels deep")


def check_scalar(value: Any) -> None:
    """Raises NoJson unless the value is a text, a number, true, false or null that can be stored."""
    if isinstance(value, str):
        if "\0" in value:
            raise NoJson("must not contain a NUL")
    elif isinstance(value, float):
        if not math.isfinite(value):
            raise NoJson("must not hold a number that is not finite")
    elif value is not None and not isinstance(value, int):
        raise NoJson("must hold only values that JSON has: texts, numbers, lists, objects, true, false, null")


async def check(text: bytes, levels: int) -> None:
    """Raises NoJson for valid JSON that cannot be stored: too deep a nesting, a NUL or a very long number.

    Raises msgspec's errors for a string or number that it cannot decode.
    """
    depth = 0
    turns = Turns()
    for place, (opening, closing, scalar) in enumerate(_tokens(text)):
        depth += bool(opening) - bool(closing)
        if depth > levels:
            raise too_deep(levels)
        if scalar:
            check_scalar(msgspec.json.decode(scalar))
        if scalar and scalar[:1] in b"-0123456789" and not _MODEST.fullmatch(scalar):
            raise NoJson(f"must not hold a number with more than {MAX_DECIMALS:,} decimals, or an exponent beyond 399")
        if place % TOKENS_AT_ONCE == 0:
            await turns.give()


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
    """An integer beyond 64 bits as a float or a string: jsonb writes 1e300 as an integer."""
    try:
        return float(value)
    except OverflowError:
        return str(value)  # beyond the range of a double


async def from_msgpack(packed: bytes, levels: int) -> bytes:
    """Converts valid MessagePack, at most `levels` deep, to JSON. Raises NoJson and UnicodeDecodeError."""
    unpacker = msgpack.Unpacker(max_buffer_size=len(packed))
    unpacker.feed(packed)
    text, turns = bytearray(), Turns()  # a bytearray is faster than joining a million pieces at the end

    async def convert(depth: int) -> None:
        kind = packed[unpacker.tell()]
        if kind & 0xF0 == 0x80 or kind in (0xDE, 0xDF):
            begin, count, end = b"{", unpacker.read_map_header(), b"}"
        elif kind & 0xF0 == 0x90 or kind in (0xDC, 0xDD):
            begin, count, end = b"[", unpacker.read_array_header(), b"]"
        else:
            text.extend(_json_scalar(unpacker.unpack()))
            return
        if depth == levels:
            raise too_deep(levels)
        text.extend(begin)
        for place in range(count):
            if place:
                text.extend(b",")
            if begin == b"{":
                kind = packed[unpacker.tell()]
                if kind & 0xE0 != 0xA0 and kind not in (0xD9, 0xDA, 0xDB):
                    raise NoJson("must have texts as names only")
                text.extend(_json_scalar(unpacker.unpack()) + b":")
            await convert(depth + 1)
            if place % TOKENS_AT_ONCE == 0:
                await turns.give()
        text.extend(end)

    await convert(0)
    return bytes(text)


def _json_scalar(value: Any) -> bytes:
    check_scalar(value)
    return msgspec.json.encode(value)
