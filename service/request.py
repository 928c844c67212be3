"""A request as guards and handlers see it: who sent it, and its body, read within limits."""

import asyncio
import contextlib
import hashlib
import hmac
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Sequence
from contextlib import aclosing
from functools import cache
from typing import Any, NotRequired, TypedDict, TypeVar
from urllib.parse import parse_qsl

import msgspec
from starlette.requests import Request

from service import compression, db, pace
from service.answers import JSON, MSGPACK
from service.crypto import Keyring
from service.decoding import JSON as JSON_WIRE
from service.decoding import MESSAGE_PACK, Wire
from service.errors import ContentTooLarge, Invalid, Problem, TooSlow, UnsupportedEncoding, UnsupportedMediaType
from service.gate import Gate
from service.metrics import Facts
from service.rates import Rates
from service.replica import Replica, Unanswered
from service.settings import Settings

T = TypeVar("T")

LINGER_SECONDS = 5
SHORT_BYTES = 64 * 1024
ROOM_STEP = 1024 * 1024
MERGE_PATCH = "application/merge-patch+json"


class State(TypedDict):
    """What lives as long as the application."""

    pool: db.Pool
    replica: Replica | None
    settings: Settings
    keyring: Keyring
    openapi: dict[str, bytes]
    known: dict[tuple[str, str], Any]  # service.auth.remembered
    gate: Gate
    rates: Rates | None
    draining: asyncio.Event  # set when the service has been told to stop
    facts: NotRequired[Facts]  # of each request its own; see service.middleware


class Credentials(msgspec.Struct, frozen=True):
    """What a caller showed: the SHA-256 of a key (None without one), and whether it is the admin's."""

    key_hash: str | None
    is_admin: bool


class Req:
    """A request on its way: what guards and handlers may use of it."""

    def __init__(self, request: Request[State]) -> None:
        self.db: db.Pool = request.state["pool"]
        self.replica = _replica(request)  # decided once, so that `remembered` and the search agree
        self.settings: Settings = request.state["settings"]
        self.keyring: Keyring = request.state["keyring"]
        self.openapi: dict[str, bytes] = request.state["openapi"]
        self.known: dict[tuple[str, str], Any] = request.state["known"]
        self.facts: Facts = request.state["facts"]
        self.gate: Gate = request.state["gate"]
        self.draining: asyncio.Event = request.state["draining"]
        self.address = request.client.host if request.client else ""
        self.is_proved = False  # whether the handler has asked for access by itself, and it was given
        self.credentials = _credentials(request.headers.get("authorization"), self.settings.service_adminkey)
        if self.credentials.is_admin:
            self.facts.principal = "admin"
        self._request = request
        self._body: bytes | None = None
        self._too_slow: TooSlow | None = None

    @property
    def is_short(self) -> bool:
        """Whether the body is so small, and as it is, that it may be kept and read twice."""
        announced = self._announced()
        return announced is not None and announced <= SHORT_BYTES and "content-encoding" not in self._request.headers

    def _announced(self) -> int | None:
        """The Content-Length; None without one."""
        digits = self._request.headers.get("content-length", "")
        # Any number of zeros may stand in front, and int() refuses a number of thousands of digits.
        return int(digits.lstrip("0") or "0") if digits.isdecimal() else None

    def _length(self) -> int:
        """How long the body will be; 0 when it is not known, as of one that comes in chunks or compressed."""
        return 0 if "content-encoding" in self._request.headers else self._announced() or 0

    @property
    def is_metrics_key(self) -> bool:
        """Whether the caller showed the key that reads the metrics."""
        wanted = self.settings.service_metrics_key
        return bool(wanted) and hmac.compare_digest(self.credentials.key_hash or "", _hash_setting(wanted))

    async def reading(self, ask: Callable[[db.Pool], Awaitable[T]]) -> T:
        """What `ask` finds on the replica where one is used, else, or when it cannot say, on the primary.

        Only for what the guard has allowed: the replica's idea of who may see what is old.
        """
        if self.replica is not None:
            with contextlib.suppress(Unanswered):
                answer = await self.replica.ask(ask)
                self.facts.from_replica = True
                return answer
        return await ask(self.db)

    def as_sent(self, name: str) -> str:
        """A path parameter before percent-decoding."""
        value: str = self._request.path_params[name]
        return value

    def query(self) -> dict[str, str]:
        """The query's parameters; one that is given several times is a list, like `a,b`. Raises Invalid for a NUL."""
        query: dict[str, str] = {}
        sent = self._request.scope["query_string"].decode("latin-1")
        for name, value in parse_qsl(sent, keep_blank_values=True) if sent else ():
            if "\0" in value:
                raise Invalid(problems=[Problem("must not contain a NUL", f"query.{name[:64]}")])
            query[name] = f"{query[name]},{value}" if name in query else value
        return query

    def media_type(self, consumes: Sequence[str]) -> str:
        """What the body is said to be; without a word the first of `consumes`.

        Raises UnsupportedMediaType for any other, and for text that is not UTF-8.
        """
        header = self._request.headers.get("content-type")
        if not header:
            return consumes[0]
        kind, *parameters = [part.strip().lower() for part in header.split(";")]
        charset = next((p.removeprefix("charset=").strip('"') for p in parameters if p.startswith("charset=")), "utf-8")
        if kind not in consumes or charset not in ("utf-8", "utf8"):
            problem = Problem(f"must be {' or '.join(consumes)} in UTF-8", "header.content-type", header[:200])
            raise UnsupportedMediaType(problems=[problem])
        return kind

    def wire(self, consumes: Sequence[str]) -> Wire:
        """How to decode the body. Raises as `media_type` does."""
        return MESSAGE_PACK if self.media_type(consumes) == MSGPACK else JSON_WIRE

    def chunks(self) -> AsyncGenerator[bytes, None]:
        """The body as it comes, decompressed, in pieces of at most 256 KiB if it was compressed.

        Raises UnsupportedMediaType for an unknown Content-Encoding, BadRequest for a body that is not what it says, and
        TooSlow when nothing comes for a while.
        """
        return self._chunks(least=0)

    def _chunks(self, least: int) -> AsyncGenerator[bytes, None]:
        encoding = self._request.headers.get("content-encoding", "identity").strip().lower()
        return self._pieces(least) if encoding == "identity" else self._decompressed(encoding, least)

    def _pieces(self, least: int) -> AsyncGenerator[bytes, None]:
        return pace.keep(self._request.stream(), self.settings.service_body_seconds, least)

    async def _decompressed(self, encoding: str, least: int) -> AsyncGenerator[bytes, None]:
        if encoding not in compression.ENCODINGS:
            known = ", ".join(compression.ENCODINGS)
            problem = Problem(f"must be one of {known}", "header.content-encoding", encoding[:200])
            raise UnsupportedEncoding(problems=[problem])
        decompressor = compression.decompressor(encoding)
        async with aclosing(self._pieces(least)) as pieces:
            async for piece in pieces:
                for slice_ in decompressor.feed(piece):
                    yield slice_
                    await asyncio.sleep(0)  # a small piece may become a large one
        decompressor.finish()

    async def make_room(self, size: int) -> None:
        """Waits until there is room for so many bytes in memory, until the answer is sent. Raises Busy."""
        self.facts.room += await self.gate.enter(size)

    async def read(self, limit: int, consumes: Sequence[str] = (JSON,)) -> bytes:
        """Reads the body, counting what really comes, and comes out of it, whatever its headers say.

        Raises ContentTooLarge above `limit` bytes, TooSlow also for a body that never pauses but trickles, and what
        `media_type` and `chunks` raise.
        """
        self.media_type((JSON, MERGE_PATCH) if self._request.method == "PATCH" else consumes)
        if self._body is not None:
            return self._body
        if self._too_slow is not None:
            raise self._too_slow  # what had come is lost, and what comes now is no body
        too_large = (self._announced() or 0) > limit
        if too_large and self._request.headers.get("expect", "").lower() == "100-continue":
            raise ContentTooLarge(f"The body may have at most {limit} bytes.")  # the client waits, and need not send
        room = SHORT_BYTES  # which everybody has, also who then sends nothing
        body = bytearray()
        try:
            async with aclosing(self._chunks(pace.LEAST_BYTES_A_SECOND)) as chunks:
                async for chunk in chunks:
                    if too_large or len(body) + len(chunk) > limit:
                        await _discard(chunks, limit)
                        raise ContentTooLarge(f"The body may have at most {limit} bytes.")
                    body += chunk
                    if len(body) > room:
                        more = max(self._length() or len(body) + ROOM_STEP, len(body)) - room
                        await self.make_room(more)
                        room += more
        except TooSlow as error:
            self._too_slow = error
            raise
        whole = bytes(body)
        if len(whole) <= SHORT_BYTES:
            self._body = whole
        return whole


async def _discard(chunks: AsyncIterator[bytes], limit: int) -> None:
    """Reads on for a while: a client that is still sending would lose the answer to a reset connection."""
    with contextlib.suppress(TimeoutError, TooSlow):
        async with asyncio.timeout(LINGER_SECONDS):
            async for chunk in chunks:
                limit -= len(chunk)
                if limit < 0:
                    return


def _replica(request: Request[State]) -> Replica | None:
    """The replica, when it is used and the caller does not ask for the primary."""
    replica: Replica | None = request.state["replica"]
    if replica is None or not replica.is_used:
        return None
    return None if request.headers.get("x-read-from", "").strip().lower() == "primary" else replica


def _credentials(header: str | None, admin_key: str) -> Credentials:
    if not header:
        return Credentials(None, is_admin=False)
    scheme, _, rest = header.strip().partition(" ")
    key = rest.strip() if scheme.lower() == "bearer" else header.strip()
    key_hash = hash_key(key)
    return Credentials(key_hash, is_admin=hmac.compare_digest(key_hash, _hash_setting(admin_key)))


@cache
def _hash_setting(key: str) -> str:
    return hash_key(key)


def hash_key(key: str) -> str:
    """The hexadecimal SHA-256 of a key, which is what is stored of it."""
    return hashlib.sha256(key.encode()).hexdigest()
