"""Large JSON, token by token, with others' turns between: looked at, made MessagePack, or made of it.

To decode a megabyte of small lists at once takes a tenth of a second, and to encode it again as long.
"""

import math
import re
from collections.abc import Iterator

import msgspec

from service.turns import Turns

TOKENS_AT_ONCE = 1000
_TOKEN = re.compile(rb'\s*(?:([\[{])|([\]}])|([,:])|("(?:[^"\\]|\\.)*"|[^\s,:\[\]{}"]+))')


class _Open:
    """An array or object that is not closed yet, and the packed items that it holds."""

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


class NoJson(ValueError):
    """MessagePack that has no form in JSON, or is nested too deeply; the message says what is wrong."""


async def from_msgpack(packed: bytes, levels: int) -> bytes:
    """The JSON of valid MessagePack, nested so deeply at most. Raises NoJson, and what msgspec raises for a text."""
    text = bytearray()  # to join a million pieces at the end would take long
    stack: list[_Left] = []
    place, count, turns = 0, 0, Turns()
    while True:
        count += 1
        if count % TOKENS_AT_ONCE == 0:
            await turns.give()
        is_key = bool(stack) and stack[-1].begin(text)
        if (opened := _container(packed, place)) is not None:
            if is_key:
                raise NoJson("must have texts as names only")
            if len(stack) == levels:
                raise NoJson(f"must not be nested more than {levels} levels deep")
            place, left = opened
            text += b"{" if left.is_object else b"["
            stack.append(left)
        else:
            end = place + _scalar_size(packed, place)
            text += _json_scalar(packed[place:end], is_key=is_key)
            place = end
        while stack and not stack[-1].items:
            text += b"}" if stack.pop().is_object else b"]"
        if not stack:
            return bytes(text)


class _Left:
    """What is left of an array or object: how many items, a name and its value being two."""

    def __init__(self, items: int, *, is_object: bool) -> None:
        self.items, self.is_object = items, is_object
        self._is_first = True

    def begin(self, text: bytearray) -> bool:
        """Begins the next item, and says whether it is a name."""
        is_key = self.is_object and self.items % 2 == 0
        if not self._is_first:
            text += b":" if self.is_object and not is_key else b","
        self._is_first = False
        self.items -= 1
        return is_key


def _container(packed: bytes, place: int) -> tuple[int, _Left] | None:
    """Where the items of the array or map begin that is here, and how many there are; None for a scalar."""
    kind = packed[place]
    if 0x80 <= kind <= 0x9F:
        return place + 1, _Left((kind & 0x0F) * (2 if kind < 0x90 else 1), is_object=kind < 0x90)
    if 0xDC <= kind <= 0xDF:
        end = place + (3 if kind % 2 == 0 else 5)
        return end, _Left(int.from_bytes(packed[place + 1 : end]) * (2 if kind > 0xDD else 1), is_object=kind > 0xDD)
    return None


_SIZES = {0xC0: 1, 0xC2: 1, 0xC3: 1, 0xCA: 5, 0xCB: 9, 0xCC: 2, 0xCD: 3, 0xCE: 5, 0xCF: 9}
_SIZES |= {0xD0: 2, 0xD1: 3, 0xD2: 5, 0xD3: 9}
_TEXTS = {0xD9: 1, 0xDA: 2, 0xDB: 4}  # bytes of their length


def _scalar_size(packed: bytes, place: int) -> int:
    kind = packed[place]
    if kind <= 0x7F or kind >= 0xE0:
        return 1
    if 0xA0 <= kind <= 0xBF:
        return 1 + (kind & 0x1F)
    if kind in _TEXTS:
        return 1 + _TEXTS[kind] + int.from_bytes(packed[place + 1 : place + 1 + _TEXTS[kind]])
    if kind not in _SIZES:
        raise NoJson("must hold nothing that JSON has not: texts, numbers, lists, objects, true, false, null")
    return _SIZES[kind]


def _json_scalar(packed: bytes, *, is_key: bool) -> bytes:
    value = msgspec.msgpack.decode(packed)
    if is_key and not isinstance(value, str):
        raise NoJson("must have texts as names only")
    if isinstance(value, float) and not math.isfinite(value):
        raise NoJson("must not hold a number that is not finite")
    if isinstance(value, str) and "\0" in value:
        raise NoJson("must not contain a NUL")
    return msgspec.json.encode(value)
