"""Encoding of results (JSON or MessagePack) and errors (problem+json, contract section 1)."""

import contextlib
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator
from contextlib import aclosing
from functools import cache
from http import HTTPStatus
from typing import Any

import msgspec
import numpy as np
from msgspec.structs import asdict, astuple, replace
from pgvector import HalfVector
from starlette.responses import Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from service.database.errors import reported
from service.errors import ProblemDetails
from service.http.limits import MAX_ACCEPT_LENGTH, PIECE_BYTES
from service.json_tokens import packable, to_msgpack
from service.turns import Turns
from service.vectors import to_decimals

JSON = "application/json"
MSGPACK = "application/msgpack"
NDJSON = "application/x-ndjson"
PROBLEM = "application/problem+json"
FORMATS = (JSON, MSGPACK)
# Answers may contain keys, and permissions may change at any time.
NOT_STORED = (b"cache-control", b"no-store")
NOT_SNIFFED = (b"x-content-type-options", b"nosniff")
ITEMS_AT_ONCE = 20  # longer lists are encoded in pieces
SHORT = 1000  # characters of a text, or bytes of stored JSON; results with longer ones are encoded one by one
LARGE = 64 * 1024  # bytes from which stored JSON is converted to MessagePack token by token


class Encoded(Response):
    """An encoded answer in pieces; each is sent after the client has read the one before."""

    def __init__(self, pieces: list[bytes], status: int, media_type: str) -> None:
        self.pieces, self.status_code, self.media_type = pieces, status, media_type
        self.background = None
        self.raw_headers = [
            (b"content-length", b"%d" % sum(map(len, pieces))),
            (b"content-type", media_type.encode()),
            (b"vary", b"Accept"),
        ]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Sends the pieces."""
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        for piece in self.pieces[:-1]:
            await send({"type": "http.response.body", "body": piece, "more_body": True})
        await send({"type": "http.response.body", "body": self.pieces[-1], "more_body": False})


class Lines(StreamingResponse):
    """An answer in lines of JSON, sent while the request body is still being received."""

    media_type = NDJSON

    def __init__(self, lines: AsyncGenerator[bytes, None]) -> None:
        super().__init__(lines, headers={"X-Accel-Buffering": "no"})  # for proxies
        self.lines = lines

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Sends the lines. Starlette's own method would read and lose the body while it waits for a disconnect."""
        async with aclosing(self.lines):
            await self.stream_response(send)


async def encode(result: Any, status: int = 200, accept: str | None = None) -> Response:
    """Encodes a result as JSON, or as MessagePack if `accept` prefers it; None is an empty 204.

    A Response is returned unchanged. Long lists are encoded in pieces, with turns for other requests.
    """
    if isinstance(result, Response):
        return result
    if result is None:
        return Response(status_code=HTTPStatus.NO_CONTENT)
    if accept is not None and MSGPACK in (lower := accept[:MAX_ACCEPT_LENGTH].lower()) and _prefers_msgpack(lower):
        return Encoded(await _pieces(_packed(result)), status, MSGPACK)
    return Encoded(await _pieces(_json(result)), status, JSON)


async def _pieces(parts: Iterator[bytes | Awaitable[bytes]]) -> list[bytes]:
    """The answer in pieces of about PIECE_BYTES; at least one."""
    done: list[bytes] = []
    some: list[bytes] = []
    size, turns = 0, Turns()
    for part in parts:
        some.append(part if isinstance(part, bytes) else await part)
        size += len(some[-1])
        if size > PIECE_BYTES:
            done.append(b"".join(some))
            some, size = [], 0
        await turns.give()
    return [*done, b"".join(some)]


def _json(result: Any) -> Iterator[bytes]:
    lists = _lists(result, longer_than=ITEMS_AT_ONCE)
    if not lists:
        yield msgspec.json.encode(result, enc_hook=_encoded)
        return
    # JSON contains no NUL, so each NUL marks a list.
    outside = msgspec.json.encode(replace(result, **{name: msgspec.Raw(b"[\0]") for name, _ in lists}))
    for text, (_, items) in zip(outside.split(b"\0"), [*lists, ("", [])], strict=True):
        yield text
        yield from _json_items(items)


def _json_items(items: list[Any]) -> Iterator[bytes]:
    """The items of a list, without its brackets."""
    for start in range(0, len(items), step := _step(items)):
        comma = b"," if start else b""  # not a part of its own: answers may have 100,000 results
        if _is_long(items[start]):
            yield comma + b"["
            yield from _json_items(items[start])
            yield b"]"
        else:
            yield comma + msgspec.json.encode(items[start : start + step], enc_hook=_encoded)[1:-1]


def _packed(result: Any) -> Iterator[bytes | Awaitable[bytes]]:
    """Encodes as MessagePack, item by item, with the same values of stored JSON and of times as in JSON."""
    lists = _lists(result, longer_than=0)
    if not lists:
        yield _pack(result)
        return
    names = _encoded_names(result.__class__)
    fields = _plain(replace(result, **{name: None for name, _ in lists}))
    for name, _ in lists:
        fields.pop(names[name], None)
    yield b"\xdf" + (len(fields) + len(lists)).to_bytes(4, "big")
    for name, value in fields.items():
        yield msgspec.msgpack.encode(name) + msgspec.msgpack.encode(value)
    for name, items in lists:
        yield msgspec.msgpack.encode(names[name])
        yield from _packed_list(items)


def _packed_list(items: list[Any]) -> Iterator[bytes | Awaitable[bytes]]:
    yield b"\xdd" + len(items).to_bytes(4, "big")
    for start in range(0, len(items), step := _step(items)):
        if _is_long(items[start]):
            yield from _packed_list(items[start])
        elif step == 1:
            yield _pack(items[start])
        else:
            yield b"".join(map(msgspec.msgpack.encode, items[start : start + step]))


@cache  # slow in msgspec
def _encoded_names(kind: Any) -> dict[str, str]:
    return {field.name: field.encode_name for field in msgspec.structs.fields(kind)}


async def _pack(item: Any) -> bytes:
    large: dict[str, bytes] = {}
    if isinstance(item, msgspec.Struct):
        values = asdict(item).items()
        large = {name: bytes(one) for name, one in values if type(one) is msgspec.Raw and len(memoryview(one)) > LARGE}
        item = replace(item, **dict.fromkeys(large, msgspec.Raw(b"null"))) if large else item
    plain = _plain(item)
    for name, text in large.items():
        plain[name] = msgspec.Raw(await to_msgpack(text))
    try:
        return msgspec.msgpack.encode(plain)
    except OverflowError:
        return msgspec.msgpack.encode(_packable(plain))


def _plain(value: Any) -> Any:
    """A value as dicts and lists, with the strings that it has in JSON, except for bytes."""
    return msgspec.to_builtins(value, builtin_types=(bytes,), enc_hook=_encoded)


def _lists(result: Any, longer_than: int) -> list[tuple[str, list[Any]]]:
    """The fields of an answer that contain long lists, or lists of long items."""
    if not isinstance(result, msgspec.Struct):
        return []
    return [
        (name, value)
        for name, value in asdict(result).items()
        if type(value) is list
        and (len(value) > longer_than or _is_long(value) or any(_is_long(one) for one in value if type(one) is list))
    ]


def _step(items: list[Any]) -> int:
    """The number of items that are encoded at once: one, unless they are ids or numbers."""
    return 1000 if items and isinstance(items[0], str | int | float | None) else 1


def _is_long(item: Any) -> bool:
    """Whether an item is a list with long texts or metadata, like the results for one of several vectors."""
    if type(item) is not list:
        return False
    for result in item:  # a generator would call itself for each value
        for one in astuple(result) if isinstance(result, msgspec.Struct) else ():
            if (type(one) is str and len(one) > SHORT) or (type(one) is msgspec.Raw and len(memoryview(one)) > SHORT):
                return True
    return False


def _packable(value: Any) -> Any:
    """Replaces integers beyond 64 bits by floats."""
    if isinstance(value, dict):
        return {name: _packable(one) for name, one in value.items()}
    if isinstance(value, list):
        return [_packable(one) for one in value]
    return value if not isinstance(value, int) or -(2**63) <= value < 2**64 else packable(value)


def _prefers_msgpack(accept: str) -> bool:
    weights = {MSGPACK: 0.0, JSON: 0.0}
    for part in accept.split(","):
        kind, *parameters = [piece.strip() for piece in part.split(";")]
        weight = next((piece[2:] for piece in parameters if piece.startswith("q=")), "1")
        if kind in weights:
            with contextlib.suppress(ValueError):
                weights[kind] = float(weight)
    return weights[MSGPACK] > 0 and weights[MSGPACK] >= weights[JSON]


def _encoded(value: Any) -> Any:
    if isinstance(value, HalfVector):
        return to_decimals(value)
    if isinstance(value, np.ndarray):
        return value.tolist()
    if isinstance(value, msgspec.Raw):  # which JSON takes as it is
        return msgspec.json.decode(value)
    raise TypeError(f"{type(value)} has no JSON form")


def render(error: Exception, body: Callable[[ProblemDetails], Any] | None = None) -> Response:
    """Renders an error as problem+json, or as the `body` made of it."""
    refusal = reported(error)
    return Response(
        msgspec.json.encode(refusal.body() if body is None else body(refusal.body())),
        refusal.status,
        headers=refusal.headers,
        media_type=PROBLEM if body is None else JSON,
    )
