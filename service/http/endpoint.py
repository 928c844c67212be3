"""One way through a request: guard, decode, handle, encode (`Endpoint.answer`).

The metadata of an endpoint (method, path, structs, statuses) is the single source for routing, decoding and the OpenAPI
document. The order of checks is the contract's: route, key, permission, path, query, body, then the resource.
"""

import contextlib
import inspect
import re
import typing
from collections.abc import Awaitable, Callable
from http import HTTPStatus
from types import ModuleType
from typing import Any

import asyncpg
import msgspec
from msgspec.structs import asdict
from starlette.requests import ClientDisconnect
from starlette.responses import Response

from service import decoding
from service.errors import Conflict, ContentTooLarge, Invalid, NotFound, Problem, ProblemDetails
from service.http.body import MERGE_PATCH
from service.http.deadline import deadline
from service.http.limits import MAX_SMALL_VALUES, SMALL_BODY_BYTES
from service.http.provisional import refuted
from service.http.rate_limit import counted
from service.http.request import ClientGone, Req
from service.http.responses import FORMATS, JSON, MSGPACK, NDJSON, encode, render
from service.observability.access_log import CLIENT_CLOSED_REQUEST
from service.providers.errors import ProviderError

# The date of the deprecation of routes with a successor (RFC 9745): 2026-11-23, in seconds since 1970.
DEPRECATED_SINCE = "@1795392000"

Guard = Callable[[Req], Awaitable[Any]]
Handler = Callable[..., Awaitable[Any]]


class Endpoint(msgspec.Struct, frozen=True, kw_only=True):
    """The metadata and handler of one method of a path.

    - `guard` decides whether the caller is authorized, and returns the handler's `access`.
    - `status` is the status of a success; `errors` are statuses of failures besides those that follow from
      its guard, path and arguments (`service.http.openapi`).
    - `path_type`, `query_type`, `body_type`: the structs to decode into, if any. A handler without a parameter `body`
      reads the (large) body itself, in one of the media types of `consumes`.
    - `patches`: the struct to which a merge patch is applied; `streams`: the struct of each record of a stream.
    - `returns`: the struct of the answer, in the media type `produces`.
    - `only_debug`: available with SERVICE_DEBUG only. `only_reads`: changes nothing, so it is cancelled when its client
      disconnects. `is_probe`: not rate-limited, and not logged on success. `reads_from_replica`: a replica may answer.
    - `may_be_accepted`: the handler may answer with 202 (`Req.is_accepted`).
    - `successor`: the path that replaces this deprecated one.
    - `error_body` makes the body of an error, if it is not problem+json.
    """

    handler: Handler
    method: str
    path: str
    guard: Guard
    name: str
    description: str
    status: int = 200
    errors: tuple[int, ...] = ()
    path_type: Any = None
    query_type: Any = None
    body_type: Any = None
    returns: Any = None
    patches: Any = None
    streams: Any = None
    produces: str = JSON
    consumes: tuple[str, ...] = (JSON,)
    wants_body: bool = False
    wants_access: bool = False
    only_debug: bool = False
    only_reads: bool = False
    is_probe: bool = False
    reads_from_replica: bool = False
    may_be_accepted: bool = False
    successor: str | None = None
    error_body: Callable[[ProblemDetails], Any] | None = None

    async def answer(self, req: Req) -> Response:
        """Answers a request; renders errors."""
        req.record.is_probe = self.is_probe
        req.body.consumes = self.consumes
        if self.successor is not None:
            req.answer_headers["Deprecation"] = DEPRECATED_SINCE
            req.links.append(f'<{self.successor.format(**req.path_params)}>; rel="successor-version"')
        try:
            with req.abandonable() if self.only_reads else contextlib.nullcontext():
                async with deadline(req.settings.service_request_timeout):
                    guarded = await counted(req, self._guarded, is_probe=self.is_probe)
                    try:
                        result = await self._handled(req, *guarded)
                    except Exception as error:
                        if not refuted(req, error):
                            raise
                        result = await self._handled(req, *await self._guarded(req))
                status = HTTPStatus.ACCEPTED if req.is_accepted else self.status
                response = await encode(result, status, req.headers.get("accept"))
        except ClientGone:
            return Response(status_code=CLIENT_CLOSED_REQUEST)
        except ClientDisconnect:
            return Response(status_code=HTTPStatus.BAD_REQUEST)  # for the access log: the client has disconnected
        except Exception as error:
            req.record.is_provider_fault = isinstance(error, ProviderError)
            response = render(error, self.error_body)
            if isinstance(error, asyncpg.ReadOnlySQLTransactionError):
                await req.pool.expire_connections()  # new ones resolve the host name of the database again
        if req.links:
            req.answer_headers["Link"] = ", ".join(req.links)
        if req.answer_headers:
            response.headers.update(req.answer_headers)
        return response

    async def _guarded(self, req: Req) -> tuple[Any, NotFound | Conflict | None]:
        """The guard's result, or the error of a missing resource, which is reported after all other problems."""
        try:
            return await self.guard(req), None
        except (NotFound, Conflict) as error:
            return None, error

    async def _handled(self, req: Req, access: Any, missing: NotFound | Conflict | None) -> Any:
        arguments = await self._decoded(req, missing)
        if self.wants_access:
            arguments["access"] = access
        return await self.handler(req, **arguments)

    async def _decoded(self, req: Req, missing: NotFound | Conflict | None) -> dict[str, Any]:
        """The handler's arguments from path, query and body. Raises Invalid with all problems, then `missing`."""
        if req.unreadable_name is not None:
            raise req.unreadable_name
        problems: list[Problem] = []
        arguments: dict[str, Any] = {}
        if self.path_type is not None:
            path = _collected(problems, decoding.convert, req.names, self.path_type, "path")
            arguments = asdict(path) if path is not None else {}
        if self.query_type is not None or self.path.startswith("/v1/"):  # elsewhere clients may add parameters
            query = _collected(problems, decoding.query, req.query_string, self.query_type)
            if self.query_type is not None:
                arguments["query"] = query
        if self.wants_body:
            body = await req.body.read(SMALL_BODY_BYTES)
            if decoding.count_values(body) > MAX_SMALL_VALUES:
                raise ContentTooLarge(f"The body may have at most {MAX_SMALL_VALUES:,} commas, lists and objects.")
            arguments["body"] = _collected(problems, decoding.decode, body, self.body_type)
        elif (missing is not None or problems) and self.body_type is not None:
            # The handler, which would read the body, will not be called.
            body = await req.body.read(req.settings.service_max_body_bytes)
            if len(body) <= SMALL_BODY_BYTES:
                _collected(problems, decoding.decode, body, self.body_type, wire=req.body.wire)
        if problems:
            raise Invalid(problems=problems)
        if missing is not None:
            raise missing
        return arguments


def _collected(problems: list[Problem], decode: Callable[..., Any], *arguments: Any, **named: Any) -> Any:
    """What `decode` returns, or adds its problems to those of the request, which are reported together."""
    try:
        return decode(*arguments, **named)
    except Invalid as error:
        problems += error.problems


def endpoint(
    method: str, path: str, *, guard: Guard, body: Any = None, **options: Any
) -> Callable[[Handler], Endpoint]:
    """Makes a handler an Endpoint; `options` are further fields.

    `body` is the struct of a large body, in JSON or MessagePack, which the handler reads itself.

    The names of the handler's parameters select its arguments: those in the path, and `query` and `body`, are decoded
    into the type of the annotation, `access` is the guard's result. The handler's docstring is the documentation of the
    endpoint.
    """

    def make(handler: Handler) -> Endpoint:
        hints = typing.get_type_hints(handler, include_extras=True)
        names = [(name, hints[name]) for name in re.findall(r"{(\w+)}", path) if name in hints]
        usual: dict[str, Any] = {"only_reads": method == "GET"}
        if "patches" in options:
            usual["consumes"] = (MERGE_PATCH, JSON)
        elif "streams" in options:
            usual |= {"consumes": (NDJSON, MSGPACK), "produces": NDJSON}
        elif body is not None:
            usual["consumes"] = FORMATS
        return Endpoint(
            handler=handler,
            method=method,
            path=path,
            guard=guard,
            name=handler.__name__,
            description=inspect.getdoc(handler) or "",
            path_type=msgspec.defstruct(f"{handler.__name__}_path", names) if names else None,
            query_type=hints.get("query"),
            body_type=hints.get("body", body),
            returns=hints.get("return"),
            wants_body="body" in hints,
            wants_access="access" in hints,
            **{**usual, **options},
        )

    return make


def defined_in(*modules: ModuleType) -> list[Endpoint]:
    """The endpoints of modules, in the order of their definitions."""
    return [
        one
        for module in modules
        for one in vars(module).values()
        if isinstance(one, Endpoint) and one.handler.__module__ == module.__name__  # not imported
    ]
