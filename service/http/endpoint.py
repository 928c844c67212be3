"""One way through the house: `@endpoint` decodes a request, asks its guard, calls its handler, encodes the answer.

The metadata of an endpoint (method, path, structs, statuses) is the only source for routing, decoding and
the OpenAPI document, so these cannot disagree. The order of checks is the contract's: route, key,
permission, path, query, body, and only then the resource.
"""

import asyncio
import contextlib
import inspect
import typing
from collections.abc import Awaitable, Callable, Iterator
from http import HTTPStatus
from typing import Annotated, Any, TypeVar
from urllib.parse import unquote

import asyncpg
import msgspec
from msgspec import Meta
from starlette.requests import ClientDisconnect
from starlette.responses import Response

from service import decoding
from service.errors import (
    ApiError,
    BadRequest,
    Busy,
    Conflict,
    Invalid,
    NotFound,
    Problem,
    Unauthorized,
)
from service.http.rate_limit import Rates
from service.http.request import Req
from service.http.responses import JSON, encode, render
from service.observability.metrics import NOBODY_WAITED, PROBES

SMALL_BODY_BYTES = 1024 * 1024

T = TypeVar("T")
Guard = Callable[[Req, dict[str, str]], Awaitable[Any]]
Handler = Callable[..., Awaitable[Any]]


class Page(msgspec.Struct, frozen=True):
    """Which part of a list."""

    limit: Annotated[int, Meta(ge=1, le=200)] = 200
    offset: Annotated[int, Meta(ge=0, le=10**12)] = 0

    def of(self, req: Req, rows: list[T]) -> tuple[list[T], str | None]:
        """The rows that are shown, of which one more was asked for, and where the list goes on, if it does."""
        if len(rows) <= self.limit:
            return rows, None
        return rows[: self.limit], req.go_on(offset=self.offset + self.limit)


class Endpoint:
    """One method of one path, with everything there is to know about it; `endpoint` says what each means."""

    def __init__(
        self,
        handler: Handler,
        *,
        method: str,
        path: str,
        guard: Guard,
        status: int,
        errors: tuple[int, ...],
        body: Any = None,
        patches: Any = None,
        produces: str = JSON,
        consumes: tuple[str, ...] = (JSON,),
        streams: Any = None,
        only_debug: bool = False,
        searches: bool = False,
    ) -> None:
        hints = typing.get_type_hints(handler, include_extras=True)
        self.handler = handler
        self.method = method
        self.path = path
        self.guard = guard
        self.status = status
        self.errors = errors
        self.description = inspect.getdoc(handler) or ""
        self.name = handler.__name__
        self.path_type: Any = hints.get("path")
        self.query_type: Any = hints.get("query")
        self.body_type: Any = hints.get("body", body)
        self.patches = patches
        self.returns: Any = hints.get("return")
        self.produces = produces
        self.consumes = consumes
        self.streams = streams
        self.only_debug = only_debug
        self.only_reads = method == "GET" or searches
        self.wants_body = "body" in hints
        self.wants_access = "access" in hints
        self.headers: Callable[[str], dict[str, str]] | None = None  # of every answer, by the path

    async def __call__(self, req: Req) -> Response:
        """Serves a request; every error becomes its problem+json.

        What only reads is cancelled, in PostgreSQL too, when nobody waits for it any more. An upload that came whole is
        stored in any case: who was cut off while waiting for the answer sends it again.
        """
        task = asyncio.current_task()
        if self.only_reads and task is not None:
            req.state["reader"] = task
        try:
            response = await encode(await self._in_time(req), self.status, req.headers.get("accept"))
        except ClientDisconnect:
            return Response(status_code=HTTPStatus.BAD_REQUEST)  # nobody is there to read it
        except asyncio.CancelledError:
            if task is None or not self.only_reads or "reader" in req.state:
                raise  # by somebody else than service.protocol
            task.uncancel()
            return Response(status_code=NOBODY_WAITED)
        except Exception as error:
            response = render(error)
            if isinstance(error, asyncpg.ReadOnlySQLTransactionError):
                await req.db.expire_connections()  # new ones go where the database's name leads now
        finally:
            req.state.pop("reader", None)
        if req.facts.budget:
            response.headers.update(req.facts.budget)
        if self.headers is not None:
            response.headers.update(self.headers(req.path))
        if req.next is not None:
            response.headers.append("Link", f'<{req.next}>; rel="next"')
        return response

    async def _in_time(self, req: Req) -> Any:
        seconds = req.settings.service_request_timeout
        try:
            async with asyncio.timeout(seconds) as timeout:
                return await self._answer(req)
        except TimeoutError:
            if timeout.expired():
                message = f"This took longer than {seconds:g} s, and was given up. What it changes may have been done."
                raise Busy(message) from None
            raise

    def _is_probe(self, req: Req) -> bool:
        """Whether a machine watches the service. A key that does not open the metrics may be one that is guessed."""
        return self.path in PROBES and (self.path != "/metrics" or req.credentials.is_admin or req.is_metrics_key)

    async def _asked(self, req: Req, rates: Rates, names: dict[str, str]) -> Any:
        """The guard; before it, or after it when only then it is known who asks, the count of their requests."""
        given = req.credentials
        budget = await rates.arrive(given.key_hash, given.is_admin, req.address)
        is_known = budget is not None or given.key_hash is None or given.is_admin
        req.facts.budget = budget.headers() if budget is not None else None
        try:
            return await self.guard(req, names)
        except Exception as error:
            if isinstance(error, Unauthorized) and given.key_hash is not None:
                rates.forget(given.key_hash)
            is_known = is_known or not isinstance(error, ApiError)  # the database did not say
            raise
        finally:
            if not is_known:
                budget = await rates.recognise(given.key_hash or "", req.facts.principal, req.address)
                req.facts.budget = budget.headers() if budget is not None else None

    async def _answer(self, req: Req) -> Any:
        names, unreadable = _decode_path(req.path_params)
        arguments: dict[str, Any] = {}
        missing: NotFound | Conflict | None = None
        try:
            if req.rates is None or self._is_probe(req):
                access = await self.guard(req, names)
            else:
                access = await self._asked(req, req.rates, names)
            if self.wants_access:
                arguments["access"] = access
        except (NotFound, Conflict) as error:
            missing = error  # the resource comes last: first all that is wrong with the request
        if unreadable is not None:
            raise unreadable

        problems: list[Problem] = []
        if self.path_type is not None:
            with _collecting(problems):
                arguments["path"] = decoding.convert(names, self.path_type, "path")
        with _collecting(problems):
            query = _query(req, self.query_type)
            if self.query_type is not None:
                arguments["query"] = query
        if self.wants_body:
            with _collecting(problems):
                arguments["body"] = decoding.decode(await req.read(SMALL_BODY_BYTES), self.body_type)
        elif (missing is not None or problems) and self.body_type is not None:
            # The handler, which reads this body itself and knows how to take a large one, is not called.
            body = await req.read(req.settings.service_max_body_bytes, self.consumes)
            if len(body) <= SMALL_BODY_BYTES:
                with _collecting(problems):
                    decoding.decode(body, self.body_type, wire=req.wire(self.consumes))
        if problems:
            raise Invalid(problems=problems)
        if missing is not None:
            raise missing
        return await self.handler(req, **arguments)


def _query(req: Req, kind: Any) -> Any:
    """The query as a struct. Outside of /v1, where machines and browsers ask, parameters are not looked at."""
    return decoding.query(req.query_string, kind) if kind is not None or req.path.startswith("/v1/") else None


@contextlib.contextmanager
def _collecting(problems: list[Problem]) -> Iterator[None]:
    """Keeps what is invalid, so that all of a request is told at once."""
    try:
        yield
    except Invalid as error:
        problems += error.problems


def endpoint(
    method: str,
    path: str,
    *,
    guard: Guard,
    status: int = 200,
    errors: tuple[int, ...] = (),
    body: Any = None,
    patches: Any = None,
    produces: str = JSON,
    consumes: tuple[str, ...] = (JSON,),
    streams: Any = None,
    only_debug: bool = False,
    searches: bool = False,
) -> Callable[[Handler], Endpoint]:
    """Makes a handler an endpoint.

    The handler's parameters say what it gets: `path`, `query`, `body` are decoded into the struct of their
    annotation, `access` is what the guard returned. A handler that reads the body itself, because it is large,
    names its struct as `body`, and the media types that it `consumes`; one that takes a merge patch names what it
    `patches`, one that takes records without end what it `streams`; one that `searches` changes nothing, whatever its
    method. `errors` are the statuses, beside those that every route has, with which it may answer. The handler's
    docstring is its documentation.
    """

    def make(handler: Handler) -> Endpoint:
        return Endpoint(
            handler,
            method=method,
            path=path,
            guard=guard,
            status=status,
            errors=errors,
            body=body,
            patches=patches,
            produces=produces,
            consumes=consumes,
            streams=streams,
            only_debug=only_debug,
            searches=searches,
        )

    return make


def _decode_path(raw: dict[str, Any]) -> tuple[dict[str, str], ApiError | None]:
    """Path parameters, percent-decoded, and what is wrong with them, which is told after key and permission.

    What cannot be in a name becomes U+FFFD, so that the name is nobody's.
    """
    if not any("%" in value or "\0" in value for value in raw.values()):
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
