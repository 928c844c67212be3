"""Results and errors into responses: JSON, and problem+json for every error (contract section 1)."""

import contextlib
import traceback
from collections.abc import AsyncGenerator
from contextlib import aclosing
from http import HTTPStatus
from typing import Any

import asyncpg
import msgspec
from pgvector import HalfVector
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from service import refusals
from service.errors import ApiError
from service.logs import logger
from service.vectors import to_decimals

JSON = "application/json"
MSGPACK = "application/msgpack"
NDJSON = "application/x-ndjson"
PROBLEM = "application/problem+json"
# What is shown may be a key, and who may see it changes at any time: no cache is to keep it.
NOT_STORED = (b"cache-control", b"no-store")
NOT_SNIFFED = (b"x-content-type-options", b"nosniff")
MAX_ACCEPT = 1000  # characters that are looked at


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


def encode(result: Any, status: int = 200, accept: str | None = None) -> Response:
    """The answer as JSON, or as MessagePack when `accept` prefers it; None is an empty 204.

    A response is one already. Errors are JSON in any case, for there is no other media type for them.
    """
    if isinstance(result, Response):
        return result
    if result is None:
        return Response(status_code=HTTPStatus.NO_CONTENT)
    if accept is not None and MSGPACK in (lower := accept[:MAX_ACCEPT].lower()) and _prefers_msgpack(lower):
        # Times as the texts that they are in JSON, not as MessagePack's own.
        plain = msgspec.to_builtins(result, enc_hook=_encode_vector)
        try:
            packed = msgspec.msgpack.encode(plain)
        except OverflowError:
            packed = msgspec.msgpack.encode(_packable(plain))
        return Encoded(packed, status, MSGPACK)
    return Encoded(msgspec.json.encode(result, enc_hook=_encode_vector), status, JSON)


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
