"""A request as guards and handlers see it: who sent it, and its body, read within limits."""

import asyncio
import contextlib
import hashlib
import hmac
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Sequence
from contextlib import aclosing
from functools import cache
from typing import Any, NotRequired, TypedDict, TypeVar
from urllib.parse import parse_qsl, quote, urlencode

import msgspec
from starlette.types import Receive, Scope

from service.admission import SHORT_BYTES, Gate
from service.database.pool import Pool
from service.decoding import JSON as JSON_WIRE
from service.decoding import MESSAGE_PACK, Wire
from service.errors import ContentTooLarge, Invalid, Problem, TooSlow, UnsupportedEncoding, UnsupportedMediaType
from service.http import compression, pace
from service.http.rate_limit import Rates
from service.http.responses import JSON, MSGPACK
from service.metadata.schemas import Schemas
from service.observability.metrics import Facts
from service.provider_keys.keyring import Keyring
from service.settings import Settings
from service.shares import ANONYMOUS, caller
from service.storage.replica import Replica, Unanswered

T = TypeVar("T")

LINGER_SECONDS = 5
ROOM_STEP = 256 * 1024
MERGE_PATCH = "application/merge-patch+json"


class State(TypedDict):
    """What lives as long as the application."""

    pool: Pool
    watched: Pool  # for whoever watches the service
    replica: Replica | None
    settings: Settings
    keyring: Keyring
    openapi: dict[str, bytes]
    gate: Gate
    schemas: Schemas
    rates: Rates | None
    draining: asyncio.Event  # set when the service has been told to stop
    reader: NotRequired[asyncio.Task[Any]]  # to be cancelled when nobody waits for its answer any more
    facts: NotRequired[Facts]  # of each request its own; see service.middleware
    headers: NotRequired[dict[str, str]]  # by their names in lower case; of several the first


class Credentials(msgspec.Struct, frozen=True):
    """What a caller showed: the SHA-256 of a key (None without one), and whether it is the admin's."""

    key_hash: str | None
    is_admin: bool


class Req:
    """A request on its way: what guards and handlers may use of it."""

    def __init__(self, scope: Scope, receive: Receive) -> None:
        state: State = scope["state"]
        self.headers = state["headers"]
        self.method: str = scope["method"]
        self.path: str = scope["path"]  # as it was sent
        self.path_params: dict[str, str] = scope["path_params"]  # before percent-decoding
        self.query_string = scope["query_string"].decode("latin-1")
        self.address: str = (scope.get("client") or ("",))[0]
        self.state = state
        self.db, self.watched = state["pool"], state["watched"]
        self.settings = state["settings"]
        self.keyring = state["keyring"]
        self.openapi = state["openapi"]
        self.facts = state["facts"]
        self.gate = state["gate"]
        self.schemas = state["schemas"]
        self.rates = state["rates"]
        self.draining = state["draining"]
        self.replica = self._replica(state["replica"])
        self.next: str | None = None  # where the list goes on, for a Link
        self.credentials = _credentials(self.headers.get("authorization"), self.settings.service_adminkey)
        caller.set(self.credentials.key_hash or ANONYMOUS)
        if self.credentials.is_admin:
            self.facts.principal = "admin"
        length = self.headers.get("content-length", "" if "transfer-encoding" in self.headers else "0")
        # It may have very many digits, which Python would not read.
        self._announced = int(length.lstrip("0")[:20] or "0") if length.isdecimal() else None
        self._is_compressed = "content-encoding" in self.headers
        self._receive = receive

    def _replica(self, replica: Replica | None) -> Replica | None:
        """The replica, when it is used and the caller does not ask for the primary."""
        if replica is None or not replica.is_used:
            return None
        return None if self.headers.get("x-read-from", "").strip().lower() == "primary" else replica

    def go_on(self, **parameters: str | int) -> str:
        """Where a list goes on: this request with another `offset` or `after`. The answer gets a Link to it."""
        sent = parse_qsl(self.query_string, keep_blank_values=True)
        rest = [(name, value) for name, value in sent if name not in ("offset", "after")]
        path = quote(self.path, safe="/%:@!$&'()*+,;=~")  # encoded already, but for what would end a Link
        self.next = f"{path}?{urlencode([*rest, *parameters.items()], quote_via=quote)}"
        return self.next

    @property
    def is_metrics_key(self) -> bool:
        """Whether the caller showed the key that reads the metrics."""
        wanted = self.settings.service_metrics_key
        return bool(wanted) and hmac.compare_digest(self.credentials.key_hash or "", _hash_setting(wanted))

    async def reading(self, ask: Callable[[Pool], Awaitable[T]]) -> T:
        """What `ask` finds on the replica where one is used, else, or when it cannot say, on the primary.

        Only for what the guard has allowed: the replica's idea of who may see what is old.
        """
        if self.replica is not None:
            with contextlib.suppress(Unanswered):
                answer = await self.replica.ask(ask)
                self.facts.from_replica = True
                return answer
        return await ask(self.db)

    def media_type(self, consumes: Sequence[str]) -> str:
        """What the body is said to be; without a word the first of `consumes`.

        Raises UnsupportedMediaType for any other, and for text that is not UTF-8.
        """
        header = self.headers.get("content-type")
        if not header:
            return consumes[0]
        if header in consumes:
            return header
        kind, *parameters = [part.strip().lower() for part in header.split(";")]
        charset = next((p.removeprefix("charset=").strip('"') for p in parameters if p.startswith("charset=")), "utf-8")
        if kind not in consumes or charset not in ("utf-8", "utf8"):
            right = f"must be {' or '.join(consumes)} in UTF-8"
            problem = Problem(right, "header.content-type", header[:200])
            raise UnsupportedMediaType(f"The body {right}.", [problem])
        return kind

    def wire(self, consumes: Sequence[str]) -> Wire:
        """How to decode the body. Raises as `media_type` does."""
        return MESSAGE_PACK if self.media_type(consumes) == MSGPACK else JSON_WIRE

    def chunks(self, kept_waiting_until: Callable[[], float]) -> AsyncGenerator[bytes, None]:
        """The body as it comes, decompressed, in pieces of at most 256 KiB if it was compressed.

        Raises UnsupportedMediaType for an unknown Content-Encoding, BadRequest for a body that is not what it says, and
        TooSlow when nothing comes for a while in which the client was not `kept_waiting_until` (`service.http.pace`).
        """
        return self._chunks(pace.pieces(self._receive, self.settings.service_body_seconds, 0, kept_waiting_until))

    def _chunks(self, pieces: AsyncGenerator[bytes, None]) -> AsyncGenerator[bytes, None]:
        encoding = self.headers.get("content-encoding", "").strip().lower() or "identity"
        encoding = compression.OLDER_NAMES.get(encoding, encoding)
        if encoding == "identity":
            return pieces
        if encoding in compression.ENCODINGS:
            return self._decompressed(encoding, pieces)
        known = ", ".join(compression.ENCODINGS)
        problem = Problem(f"must be one of {known}", "header.content-encoding", encoding[:200])
        raise UnsupportedEncoding(problems=[problem])

    async def _decompressed(self, encoding: str, body: AsyncGenerator[bytes, None]) -> AsyncGenerator[bytes, None]:
        decompressor = compression.decompressor(encoding)
        async with aclosing(body) as pieces:
            async for piece in pieces:
                for slice_ in decompressor.feed(piece):
                    yield slice_
                    await asyncio.sleep(0)  # a small piece may become a large one
        decompressor.finish()

    async def make_room(self, size: int) -> None:
        """Waits until there is room for so many bytes in memory, until the answer is sent. Raises Busy."""
        self.facts.room += await self.gate.enter(size)

    async def make_room_to_show(self, size: int) -> None:
        """Makes room for the texts and metadata of several embeddings, which were sent bit by bit.

        Raises Invalid when they are more bytes than a body may have.
        """
        most = self.settings.service_max_body_bytes
        if size > most:
            message = (
                f"would show {size:,} bytes of text and metadata; at most {most:,} are sent at once: ask for fewer"
            )
            raise Invalid(problems=[Problem(message, "query.limit")])
        if size > SHORT_BYTES:
            await self.make_room(size)

    async def read(self, limit: int, consumes: Sequence[str] = (JSON,)) -> bytes:
        """Reads the body, counting what really comes, and comes out of it, whatever its headers say.

        Raises ContentTooLarge above `limit` bytes, TooSlow also for a body that never pauses but trickles, and what
        `media_type` and `chunks` raise.
        """
        self.media_type((JSON, MERGE_PATCH) if self.method == "PATCH" else consumes)
        too_large = self._announced is not None and self._announced > limit
        if too_large and self.headers.get("expect", "").lower() == "100-continue":
            raise ContentTooLarge(f"The body may have at most {limit} bytes.")  # the client waits, and need not send
        is_short = self._announced is not None and self._announced <= SHORT_BYTES and not self._is_compressed
        if is_short and not too_large:
            return await pace.whole(self._receive, self.settings.service_body_seconds, pace.LEAST_BYTES_A_SECOND)
        room = SHORT_BYTES  # which everybody has, also who then sends nothing
        announced = limit if self._is_compressed or self._announced is None else self._announced
        body = bytearray()
        pieces = pace.pieces(self._receive, self.settings.service_body_seconds, pace.LEAST_BYTES_A_SECOND)
        async with aclosing(self._chunks(pieces)) as chunks:
            async for chunk in chunks:
                if too_large or len(body) + len(chunk) > limit:
                    await _discard(chunks, limit)
                    raise ContentTooLarge(f"The body may have at most {limit} bytes.")
                body += chunk
                if len(body) > room:
                    # As it comes: what is only announced takes no room from others.
                    more = max(len(body), min(len(body) + ROOM_STEP, announced)) - room
                    await self.make_room(more)
                    room += more
        return bytes(body)


async def _discard(chunks: AsyncIterator[bytes], limit: int) -> None:
    """Reads on for a while: a client that is still sending would lose the answer to a reset connection."""
    with contextlib.suppress(TimeoutError, TooSlow):
        async with asyncio.timeout(LINGER_SECONDS):
            async for chunk in chunks:
                limit -= len(chunk)
                if limit < 0:
                    return


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
