"""Results and errors into responses: JSON, and problem+json for every error (contract section 1)."""

import contextlib
import traceback
from collections.abc import AsyncGenerator
from contextlib import aclosing
from http import HTTPStatus
from typing import Any

import asyncpg
import msgspec
from msgspec.structs import replace
from pgvector import HalfVector
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from service import refusals
from service.errors import ApiError
from service.logs import logger
from service.turns import Turns
from service.vectors import to_decimals

JSON = "application/json"
MSGPACK = "application/msgpack"
NDJSON = "application/x-ndjson"
PROBLEM = "application/problem+json"
# What is shown may be a key, and who may see it changes at any time: no cache is to keep it.
NOT_STORED = (b"cache-control", b"no-store")
NOT_SNIFFED = (b"x-content-type-options", b"nosniff")
MAX_ACCEPT = 1000  # characters that are looked at
ITEMS_AT_ONCE = 20  # of a list in JSON


class Encoded(Response):
    """An answer that is encoded already, with the least work on its headers."""

    def __init__(self, body: bytes, status: int, media_type: str) -> None:
        self.body, self.status_code, self.media_type = body, status, media_type
        self.background = None
        self.raw_headers = [
            (b"content-length", b"%d" % len(body)),
            (b"content-type", media_type.encode()),
            (b"vary", b"Accept"),
        ]


class Lines(Response):
    """An answer in lines of JSON, each sent when it is there, even while the request is still coming.

    Starlette's own streaming response reads the request meanwhile, to notice a disconnect, and would lose it.
    """

    def __init__(self, lines: AsyncGenerator[bytes, None]) -> None:
        self.status_code = HTTPStatus.OK
        self.media_type = NDJSON
        self.background = None
        self.lines = lines
        # Proxies are asked not to collect the lines.
        self.init_headers({"X-Accel-Buffering": "no"})

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Sends the lines."""
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        async with aclosing(self.lines) as lines:
            async for line in lines:
                await send({"type": "http.response.body", "body": line, "more_body": True})
        await send({"type": "http.response.body", "body": b"", "more_body": False})


async def encode(result: Any, status: int = 200, accept: str | None = None) -> Response:
    """The answer as JSON, or as MessagePack when `accept` prefers it; None is an empty 204.

    A response is one already. Errors are JSON in any case, for there is no other media type for them. Long lists are
    encoded in pieces, between which others have their turn.
    """
    if isinstance(result, Response):
        return result
    if result is None:
        return Response(status_code=HTTPStatus.NO_CONTENT)
    if accept is not None and MSGPACK in (lower := accept[:MAX_ACCEPT].lower()) and _prefers_msgpack(lower):
        return Encoded(await _packed(result), status, MSGPACK)
    return Encoded(await _json(result), status, JSON)


async def _json(result: Any) -> bytes:
    lists: dict[str, Any] = {}
    for name, items in _lists(result, longer_than=ITEMS_AT_ONCE):
        pieces: list[bytes] = []
        turns = Turns()
        for start in range(0, len(items), step := _step(items)):
            pieces.append(msgspec.json.encode(items[start : start + step], enc_hook=_encode_vector)[1:-1])
            await turns.give()
        lists[name] = msgspec.Raw(b"[" + b",".join(pieces) + b"]")
    return msgspec.json.encode(replace(result, **lists) if lists else result, enc_hook=_encode_vector)


async def _packed(result: Any) -> bytes:
    """As MessagePack, item by item from its JSON: so stored JSON, and times, are what they are there."""
    lists: dict[str, Any] = {}
    for name, items in _lists(result, longer_than=0):
        pieces = [b"\xdd" + len(items).to_bytes(4, "big")]
        turns = Turns()
        for item in items:
            pieces.append(_pack(item))
            await turns.give()
        lists[name] = msgspec.Raw(b"".join(pieces))
    if not lists:
        return _pack(result)
    names = {field.name: field.encode_name for field in msgspec.structs.fields(result)}
    rest = msgspec.json.decode(msgspec.json.encode(replace(result, **dict.fromkeys(lists, msgspec.Raw(b"[]")))))
    return msgspec.msgpack.encode({**rest, **{names[name]: packed for name, packed in lists.items()}})


def _pack(item: Any) -> bytes:
    plain = msgspec.json.decode(msgspec.json.encode(item, enc_hook=_encode_vector))
    try:
        return msgspec.msgpack.encode(plain)
    except OverflowError:
        return msgspec.msgpack.encode(_packable(plain))


def _lists(result: Any, longer_than: int) -> list[tuple[str, list[Any]]]:
    """The fields of an answer that are long lists."""
    if not isinstance(result, msgspec.Struct):
        return []
    fields = ((name, getattr(result, name)) for name in result.__struct_fields__)
    return [(name, value) for name, value in fields if isinstance(value, list) and len(value) > longer_than]


def _step(items: list[Any]) -> int:
    """How many items are a piece: an embedding may be large, an id is not."""
    return 1 if isinstance(items[0], msgspec.Struct | list) else 1000


def _packable(value: Any) -> Any:
    """The value with floats for integers that MessagePack has not: PostgreSQL's jsonb writes 1e300 as an integer."""
    if isinstance(value, dict):
        return {name: _packable(one) for name, one in value.items()}
    if isinstance(value, list):
        return [_packable(one) for one in value]
    if not isinstance(value, int) or -(2**63) <= value < 2**64:
        return value
    try:
        return float(value)
    except OverflowError:
        return str(value)  # no double is so large


def _prefers_msgpack(accept: str) -> bool:
    weights = {MSGPACK: 0.0, JSON: 0.0}
    for part in accept.split(","):
        kind, *parameters = [piece.strip() for piece in part.split(";")]
        weight = next((piece[2:] for piece in parameters if piece.startswith("q=")), "1")
        if kind in weights:
            with contextlib.suppress(ValueError):
                weights[kind] = float(weight)
    return weights[MSGPACK] > 0 and weights[MSGPACK] >= weights[JSON]


def _encode_vector(value: Any) -> Any:
    if isinstance(value, HalfVector):
        return to_decimals(value)
    raise TypeError(f"{type(value)} has no JSON form")


def render(error: Exception) -> Response:
    """Any error as problem+json. What is nobody's mistake but ours is logged and says nothing of its inside."""
    refusal = error if isinstance(error, ApiError) else refusals.explain(error)
    if refusal is None:
        _log(error)
        refusal = ApiError("Something went wrong in the service; it has been logged.")
    return Response(
        msgspec.json.encode(refusal.body()),
        refusal.status,
        headers=refusal.headers,
        media_type=PROBLEM,
    )


def _log(error: Exception) -> None:
    # Not the message of a database error: its detail repeats whole rows.
    what = f"SQLSTATE {error.sqlstate}" if isinstance(error, asyncpg.PostgresError) else str(error)
    stack = "".join(traceback.format_tb(error.__traceback__))
    logger.error("fault", kind=type(error).__name__, what=what, stack=stack)
