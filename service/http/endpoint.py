"""One way through a request: guard, decode, handle, encode (`Endpoint.answer`).

The metadata of an endpoint (method, path, structs, statuses) is the only source for routing, decoding and
the OpenAPI document, so these cannot disagree. The order of checks is the contract's: route, key,
permission, path, query, body, and only then the resource.
"""

import contextlib
import inspect
import typing
from collections.abc import Awaitable, Callable, Iterator
from http import HTTPStatus
from typing import Any

import asyncpg
import msgspec
from starlette.requests import ClientDisconnect
from starlette.responses import Response

from service import decoding
from service.errors import Conflict, Invalid, NotFound, Problem, ProblemDetails
from service.http.body import MERGE_PATCH
from service.http.limits import SMALL_BODY_BYTES
from service.http.provisional import refuted
from service.http.rate_limit import counted
from service.http.request import ClientGone, Req, path_names
from service.http.responses import JSON, encode, render
from service.http.time_limit import time_limit
from service.observability.access_log import CLIENT_CLOSED_REQUEST

# When the names that have a successor were deprecated (RFC 9745): 2026-11-23, in seconds since 1970.
DEPRECATED_SINCE = "@1795392000"

Guard = Callable[[Req, dict[str, str]], Awaitable[Any]]
Handler = Callable[..., Awaitable[Any]]


class Endpoint(msgspec.Struct, frozen=True, kw_only=True):
    """One method of one path, and everything that there is to know about it.

    - `guard` decides whether the caller may do this, and returns the handler's `access`.
    - `status` is that of a success; `errors` are the statuses of failures beside those that every route has.
    - `path_type`, `query_type`, `body_type`: the structs into which these are decoded, if any. A handler that has no
      parameter `body` reads the body itself, because it is large, in one of the media types that it `consumes`.
    - `patches`: the struct to which a merge patch is applied; `streams`: that of each record of an endless body.
    - `returns` is the struct of the answer, in the media type that the endpoint `produces`.
    - `only_debug`: served with SERVICE_DEBUG only. `only_reads`: changes nothing, so it is cancelled when its client
      has gone. `is_probe`: requested by machines every few seconds, so it is neither counted nor logged.
      `reads_from_replica`: its answer may come from the replica.
    - `may_be_accepted`: it is answered with 202 when the handler says so (`Req.is_accepted`).
    - `successor`: the path that replaces this one, which is deprecated.
    - `error_body` makes the body of an error, where it is not problem+json.
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
        """Answers a request; every error becomes its problem+json."""
        req.record.is_probe = self.is_probe
        if self.successor is not None:
            req.answer_headers["Deprecation"] = DEPRECATED_SINCE
            req.links.append(f'<{self.successor.format(**req.path_params)}>; rel="successor-version"')
        try:
            with req.abandonable() if self.only_reads else contextlib.nullcontext():
                async with time_limit(req.services.settings.service_request_timeout):
                    access, missing = await self._guarded(req)
                    try:
                        result = await self._handled(req, access, missing)
                    except Exception as error:
                        if not refuted(req, error):
                            raise
                        access, missing = await self._asked(req)
                        result = await self._handled(req, access, missing)
                status = HTTPStatus.ACCEPTED if req.is_accepted else self.status
                response = await encode(result, status, req.headers.get("accept"))
        except ClientGone:
            return Response(status_code=CLIENT_CLOSED_REQUEST)
        except ClientDisconnect:
            return Response(status_code=HTTPStatus.BAD_REQUEST)  # for the access log: the client has gone
        except Exception as error:
            response = render(error, self.error_body)
            if isinstance(error, asyncpg.ReadOnlySQLTransactionError):
                await req.pool.expire_connections()  # new ones go where the database's name leads now
        response.headers.update(req.answer_headers)
        if req.links:
            response.headers["Link"] = ", ".join(req.links)
        return response

    async def _guarded(self, req: Req) -> tuple[Any, NotFound | Conflict | None]:
        """The guard's result; or that the resource is missing, which is reported after all other problems."""
        async with counted(req, is_probe=self.is_probe):
            return await self._asked(req)

    async def _asked(self, req: Req) -> tuple[Any, NotFound | Conflict | None]:
        names, _ = path_names(req.path_params)
        try:
            return await self.guard(req, names), None
        except (NotFound, Conflict) as error:
            return None, error

    async def _handled(self, req: Req, access: Any, missing: NotFound | Conflict | None) -> Any:
        arguments = await self._decoded(req, missing)
        if self.wants_access:
            arguments["access"] = access
        return await self.handler(req, **arguments)

    async def _decoded(self, req: Req, missing: NotFound | Conflict | None) -> dict[str, Any]:
        """Path, query and body as the handler's arguments. Raises Invalid with all problems, then `missing`."""
        names, unreadable = path_names(req.path_params)
        if unreadable is not None:
            raise unreadable
        arguments: dict[str, Any] = {}
        problems: list[Problem] = []
        if self.path_type is not None:
            with _collecting(problems):
                arguments["path"] = decoding.convert(names, self.path_type, "path")
        if self.query_type is not None or self.path.startswith("/v1/"):  # elsewhere browsers and machines may add some
            with _collecting(problems):
                query = decoding.query(req.query_string, self.query_type)
                if self.query_type is not None:
                    arguments["query"] = query
        if self.wants_body:
            with _collecting(problems):
                body = await req.body.read(SMALL_BODY_BYTES, self.consumes)
                arguments["body"] = decoding.decode(body, self.body_type)
        elif (missing is not None or problems) and self.body_type is not None:
            # The handler, which would read this body, is not called.
            body = await req.body.read(req.services.settings.service_max_body_bytes, self.consumes)
            if len(body) <= SMALL_BODY_BYTES:
                with _collecting(problems):
                    decoding.decode(body, self.body_type, wire=req.body.wire(self.consumes))
        if problems:
            raise Invalid(problems=problems)
        if missing is not None:
            raise missing
        return arguments


@contextlib.contextmanager
def _collecting(problems: list[Problem]) -> Iterator[None]:
    """Keeps the problems of a block, so that all of a request are reported at once."""
    try:
        yield
    except Invalid as error:
        problems += error.problems


def endpoint(
    method: str, path: str, *, guard: Guard, body: Any = None, **options: Any
) -> Callable[[Handler], Endpoint]:
    """Makes a handler an Endpoint; `options` are further fields of it.

    The handler's parameters choose its arguments: `path`, `query`, `body` are decoded into the struct of their
    annotation, `access` is what the guard returned. A handler that reads the body itself names its struct as `body`.
    The handler's docstring is the endpoint's documentation.
    """

    def make(handler: Handler) -> Endpoint:
        hints = typing.get_type_hints(handler, include_extras=True)
        if "patches" in options:
            options["consumes"] = (MERGE_PATCH, JSON)
        return Endpoint(
            handler=handler,
            method=method,
            path=path,
            guard=guard,
            name=handler.__name__,
            description=inspect.getdoc(handler) or "",
            path_type=hints.get("path"),
            query_type=hints.get("query"),
            body_type=hints.get("body", body),
            returns=hints.get("return"),
            wants_body="body" in hints,
            wants_access="access" in hints,
            **{"only_reads": method == "GET", **options},
        )

    return make
