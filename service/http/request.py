"""Requests as seen by guards and handlers, and the services of the application."""

import asyncio
import contextlib
import hashlib
import hmac
from collections.abc import Awaitable, Callable, Iterator
from functools import cache
from typing import Any, NotRequired, TypedDict, TypeVar
from urllib.parse import parse_qsl, quote, unquote, urlencode

import msgspec
from starlette.types import Receive, Scope

from service.admission import ANONYMOUS, SHORT_BYTES, Shares, caller
from service.database.pool import Pool
from service.errors import ApiError, BadRequest, Invalid, Problem
from service.http.body import Body
from service.http.rate_limit import RateLimits
from service.metadata.schemas import Schemas
from service.observability.access_log import RequestRecord
from service.provider_keys.keyring import Keyring
from service.providers.embedder import Embedder
from service.queries.projects import ProjectAccess
from service.queries.users import Credentials
from service.search.slow import SlowSearches
from service.settings import Settings
from service.storage.real_queries import RealQueries
from service.storage.replica import Replica, Unanswered

T = TypeVar("T")


class Services(msgspec.Struct, frozen=True):
    """The long-lived services of the application.

    `probe_pool` has a separate connection for probes. `memory` is that for large requests and answers, in bytes,
    `uploads` the number of uploads at once. `draining` is set during the shutdown.
    """

    settings: Settings
    pool: Pool
    probe_pool: Pool
    replica: Replica | None
    keyring: Keyring
    memory: Shares
    uploads: Shares
    schemas: Schemas
    rate_limits: RateLimits | None
    draining: asyncio.Event
    openapi: dict[str, bytes]
    real_queries: RealQueries
    slow_searches: SlowSearches
    embedder: Embedder
    remembered: dict[tuple[str | None, str, str], ProjectAccess]  # service.http.provisional


class State(TypedDict):
    """The state of a request."""

    services: Services
    record: NotRequired[RequestRecord]
    headers: NotRequired[dict[str, str]]  # by name in lower case; the first of several
    abandonable: NotRequired[asyncio.Task[Any]]  # service.server.protocol cancels it when the client disconnects


class ClientGone(Exception):
    """The client closed the connection before the answer was ready."""


class Req:
    """A request, as guards and handlers use it."""

    def __init__(self, scope: Scope, receive: Receive) -> None:
        state: State = scope["state"]
        self.state, self.services = state, state["services"]
        self.pool, self.settings = self.services.pool, self.services.settings
        self.headers, self.record = state["headers"], state["record"]
        self.method: str = scope["method"]
        self.path: str = scope["path"]  # not percent-decoded
        self.path_params: dict[str, str] = scope["path_params"]  # not percent-decoded
        self.names, self.unreadable_name = _names(self.path_params)
        self.query_string = scope["query_string"].decode("latin-1")
        self.address: str = (scope.get("client") or ("",))[0]
        self.body = Body(self.headers, receive, self.services.memory, self.settings.service_body_seconds)
        self.is_provisional = self.is_refuted = False  # service.http.provisional
        self.answer_headers: dict[str, str] = {}
        self.is_accepted = False  # the answer has the status 202
        self.links: list[str] = []  # for the header Link of the answer
        self.credentials = _credentials(self.headers.get("authorization"), self.settings.service_adminkey)
        caller.set(self.credentials.key_hash or ANONYMOUS)
        if self.credentials.is_admin:
            self.record.principal = "admin"

    @property
    def is_metrics_key(self) -> bool:
        """Whether the caller sent the metrics key."""
        wanted = self.settings.service_metrics_key
        return bool(wanted) and hmac.compare_digest(self.credentials.key_hash or "", _hash_setting(wanted))

    def go_on(self, **parameters: str | int) -> str:
        """The URL of the next page: this request with another `offset` or `after`. Also adds a Link to the answer."""
        sent = parse_qsl(self.query_string, keep_blank_values=True)
        rest = [(name, value) for name, value in sent if name not in {"offset", "after", *parameters}]
        path = quote(self.path, safe="/%:@!$&'()*+,;=~")  # already encoded, except characters that end a Link
        url = f"{path}?{urlencode([*rest, *parameters.items()], quote_via=quote)}"
        self.links.append(f'<{url}>; rel="next"')
        return url

    async def reading(self, ask: Callable[[Pool], Awaitable[T]]) -> T:
        """The result of `ask` on the replica, or on the primary if the replica is missing or cannot answer.

        Only for data that the guard has permitted: permissions on the replica may be out of date.
        """
        replica = self.services.replica
        wants_primary = self.headers.get("x-read-from", "").strip().lower() == "primary"
        if replica is not None and replica.is_used and not wants_primary:
            with contextlib.suppress(Unanswered):
                answer = await replica.ask(ask)
                self.record.from_replica = True
                return answer
        return await ask(self.pool)

    async def make_room_to_show(self, size: int, where: str = "query.limit") -> None:
        """Reserves memory for an answer with several embeddings.

        `where` is the parameter that sets their number. Raises Invalid above the limit of a body's size, and Busy.
        """
        most = self.settings.service_max_body_bytes
        if size > most:
            message = f"the response would exceed {most:,} bytes ({size:,}): lower `limit` or name fewer ids"
            raise Invalid(problems=[Problem(message, where)])
        if size > SHORT_BYTES:
            await self.body.make_room(size)

    @contextlib.contextmanager
    def abandonable(self) -> Iterator[None]:
        """Cancels the block, in PostgreSQL too, when the client disconnects. Raises ClientGone then."""
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 (a request has its task)
        self.state["abandonable"] = task
        try:
            yield
        except asyncio.CancelledError:
            if "abandonable" in self.state:
                raise  # not by service.server.protocol, which removes the task
            task.uncancel()
            raise ClientGone from None
        finally:
            self.state.pop("abandonable", None)


def _names(raw: dict[str, str]) -> tuple[dict[str, str], ApiError | None]:
    """Percent-decoded path parameters, and their problem, which is reported after key and permission.

    Characters that a name cannot contain become U+FFFD, so that no resource has that name.
    """
    if not {"%", "\0"} & set("".join(raw.values())):
        return raw, None
    names = {name: unquote(value, errors="replace").replace("\0", "\ufffd") for name, value in raw.items()}
    for name, value in raw.items():
        place = "path." + (name if name == "text_id" else f"{name}_handle")
        try:
            decoded = unquote(value, errors="strict")
        except UnicodeDecodeError:
            return names, BadRequest("The path is not UTF-8.", [Problem("is not UTF-8", place)])
        if "\0" in decoded:
            return names, Invalid(problems=[Problem("must not contain a NUL", place)])
    return names, None


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
    """The hexadecimal SHA-256 of a key, which is stored in its place."""
    return hashlib.sha256(key.encode()).hexdigest()
