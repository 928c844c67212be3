"""One way through the house: `@endpoint` decodes a request, asks its guard, calls its handler, encodes the answer.

The metadata of an endpoint (method, path, structs, statuses) is the only source for routing, decoding and
the OpenAPI document, so these cannot disagree. The order of checks is the contract's: route, key,
permission, path, query, body, and only then the resource.
"""

import hashlib
import hmac
import inspect
import logging
import traceback
import typing
from collections.abc import Awaitable, Callable, Iterable
from contextlib import aclosing
from http import HTTPStatus
from typing import Annotated, Any, TypedDict
from urllib.parse import unquote

import asyncpg
import msgspec
from msgspec import Meta
from pgvector import HalfVector
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route

from service import db, decoding
from service.crypto import Cipher
from service.errors import (
    ApiError,
    BadRequest,
    ContentTooLarge,
    Invalid,
    MethodNotAllowed,
    NotFound,
    Problem,
    UnsupportedMediaType,
)
from service.settings import Settings
from service.vectors import to_decimals

logger = logging.getLogger(__name__)

SMALL_BODY_BYTES = 1024 * 1024
JSON = "application/json"


class State(TypedDict):
    """What lives as long as the application."""

    pool: db.Pool
    settings: Settings
    cipher: Cipher


class Credentials(msgspec.Struct, frozen=True):
    """What a caller showed: the SHA-256 of a key (None without one), and whether it is the admin's."""

    key_hash: str | None
    is_admin: bool


class Req:
    """A request on its way: what guards and handlers may use of it."""

    def __init__(self, request: Request[State]) -> None:
        self.db: db.Pool = request.state["pool"]
        self.settings: Settings = request.state["settings"]
        self.cipher: Cipher = request.state["cipher"]
        self.credentials = _credentials(request.headers.get("authorization"), self.settings.service_adminkey)
        self._request = request

    def as_sent(self, name: str) -> str:
        """A path parameter before percent-decoding."""
        value: str = self._request.path_params[name]
        return value

    async def read(self, limit: int) -> bytes:
        """Reads the body, counting what really comes, whatever its headers say.

        Raises ContentTooLarge above `limit` bytes and UnsupportedMediaType for anything but UTF-8 JSON.
        """
        _check_content_type(self._request.headers.get("content-type"))
        announced = self._request.headers.get("content-length", "0")
        if announced.isdecimal() and int(announced) > limit:
            raise ContentTooLarge(f"The body may have at most {limit} bytes.")
        body = bytearray()
        async with aclosing(self._request.stream()) as chunks:
            async for chunk in chunks:
                body += chunk
                if len(body) > limit:
                    raise ContentTooLarge(f"The body may have at most {limit} bytes.")
        return bytes(body)


Guard = Callable[[Req, dict[str, str]], Awaitable[Any]]
Handler = Callable[..., Awaitable[Any]]


class Page(msgspec.Struct, frozen=True):
    """Which part of a list."""

    limit: Annotated[int, Meta(ge=1, le=200)] = 200
    offset: Annotated[int, Meta(ge=0, le=10**12)] = 0


class Endpoint:
    """One method of one path, with everything there is to know about it."""

    def __init__(
        self, handler: Handler, *, method: str, path: str, guard: Guard, status: int, body: Any, errors: tuple[int, ...]
    ) -> None:
        hints = typing.get_type_hints(handler, include_extras=True)
        self.handler = handler
        self.method = method
        self.path = path
        self.guard = guard
        self.status = status
        self.errors = errors
        self.summary = inspect.getdoc(handler) or ""
        self.path_type: Any = hints.get("path")
        self.query_type: Any = hints.get("query")
        self.body_type: Any = hints.get("body", body)
        self.wants_body = "body" in hints
        self.returns: Any = hints.get("return")
        self.wants_access = "access" in hints

    async def __call__(self, request: Request[State]) -> Response:
        """Serves a request; every error becomes its problem+json."""
        try:
            return encode(await self._answer(request), self.status)
        except ClientDisconnect:
            raise
        except Exception as error:
            return render(error)

    async def _answer(self, request: Request[State]) -> Any:
        req = Req(request)
        names = _decode_path(request.path_params)
        access = await self.guard(req, names)
        arguments: dict[str, Any] = {"access": access} if self.wants_access else {}
        if self.path_type is not None:
            arguments["path"] = decoding.convert(names, self.path_type, "path")
        if self.query_type is not None:
            arguments["query"] = decoding.convert(_query(request), self.query_type, "query")
        if self.wants_body:
            arguments["body"] = decoding.decode(await req.read(SMALL_BODY_BYTES), self.body_type)
        return await self.handler(req, **arguments)


def endpoint(
    method: str, path: str, *, guard: Guard, status: int = 200, body: Any = None, errors: tuple[int, ...] = ()
) -> Callable[[Handler], Endpoint]:
    """Makes a handler an endpoint.

    The handler's parameters say what it gets: `path`, `query`, `body` are decoded into the struct of their
    annotation, `access` is what the guard returned. A handler that reads the body itself, because it is large,
    names its struct as `body`. `errors` are the statuses, beside those that every
    route has, with which it may answer. Its first docstring line becomes the summary.
    """

    def make(handler: Handler) -> Endpoint:
        return Endpoint(handler, method=method, path=path, guard=guard, status=status, body=body, errors=errors)

    return make


def routes(endpoints: Iterable[Endpoint]) -> list[Route]:
    """One route a path, so that a wrong method is told all the right ones."""
    by_path: dict[str, dict[str, Endpoint]] = {}
    for one in endpoints:
        by_path.setdefault(one.path, {})[one.method] = one
    return [Route(path, _dispatch(methods), methods=list(methods)) for path, methods in by_path.items()]


def _dispatch(methods: dict[str, Endpoint]) -> Callable[[Request[State]], Awaitable[Response]]:
    async def dispatch(request: Request[State]) -> Response:
        return await methods["GET" if request.method == "HEAD" else request.method](request)

    return dispatch


def encode(result: Any, status: int = 200) -> Response:
    """The answer as JSON; None is an empty 204."""
    if result is None:
        return Response(status_code=HTTPStatus.NO_CONTENT)
    return Response(msgspec.json.encode(result, enc_hook=_encode_vector), status, media_type=JSON)


def _encode_vector(value: Any) -> Any:
    if isinstance(value, HalfVector):
        return to_decimals(value)
    raise TypeError(f"{type(value)} has no JSON form")


def render(error: Exception) -> Response:
    """Any error as problem+json. What is nobody's mistake but ours is logged and says nothing of its inside."""
    refusal = error if isinstance(error, ApiError) else db.explain(error)
    if refusal is None:
        _log(error)
        refusal = ApiError("Something went wrong in the service; it has been logged.")
    return Response(
        msgspec.json.encode(refusal.body()),
        refusal.status,
        headers=refusal.headers,
        media_type="application/problem+json",
    )


async def render_routing(_: Request[Any], error: Exception) -> Response:
    """The router's own refusals: no such route, no such method."""
    if not isinstance(error, HTTPException):
        return render(error)
    refusal: ApiError = NotFound("There is no such route.")
    if error.status_code == HTTPStatus.METHOD_NOT_ALLOWED:
        refusal = MethodNotAllowed()
    response = render(refusal)
    response.headers.update(error.headers or {})
    return response


def _log(error: Exception) -> None:
    # Not the message of a database error: its detail repeats whole rows.
    what = f"SQLSTATE {error.sqlstate}" if isinstance(error, asyncpg.PostgresError) else str(error)
    stack = "".join(traceback.format_tb(error.__traceback__))
    logger.error("%s: %s\n%s", type(error).__name__, what, stack)


def _credentials(header: str | None, admin_key: str) -> Credentials:
    if not header:
        return Credentials(None, is_admin=False)
    scheme, _, rest = header.strip().partition(" ")
    key = rest.strip() if scheme.lower() == "bearer" else header.strip()
    key_hash = hash_key(key)
    return Credentials(key_hash, is_admin=hmac.compare_digest(key_hash, hash_key(admin_key)))


def hash_key(key: str) -> str:
    """The hexadecimal SHA-256 of a key, which is what is stored of it."""
    return hashlib.sha256(key.encode()).hexdigest()


def _check_content_type(header: str | None) -> None:
    if not header:
        return
    kind, *parameters = [part.strip().lower() for part in header.split(";")]
    charset = next((p.removeprefix("charset=").strip('"') for p in parameters if p.startswith("charset=")), "utf-8")
    if kind != JSON or charset not in ("utf-8", "utf8"):
        shown = [Problem("must be application/json in UTF-8", "header.content-type", header[:200])]
        raise UnsupportedMediaType(problems=shown)


def _decode_path(raw: dict[str, Any]) -> dict[str, str]:
    """Path parameters, percent-decoded."""
    try:
        names = {name: unquote(value, errors="strict") for name, value in raw.items()}
    except UnicodeDecodeError:
        raise BadRequest("The path is not UTF-8.", [Problem("is not UTF-8", "path")]) from None
    for name, value in names.items():
        if "\0" in value:
            raise Invalid(problems=[Problem("must not contain a NUL", f"path.{name}")])
    return names


def _query(request: Request[State]) -> dict[str, str]:
    """The query's parameters; one that is given several times is a list, like `a,b`."""
    query: dict[str, str] = {}
    for name, value in request.query_params.multi_items():
        query[name] = f"{query[name]},{value}" if name in query else value
    return query
