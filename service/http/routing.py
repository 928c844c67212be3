"""Routing of requests by path, then by method."""

from collections.abc import Iterable
from http import HTTPStatus

from starlette.responses import Response
from starlette.routing import Route, Router
from starlette.types import Receive, Scope, Send

from service.errors import MethodNotAllowed, NotFound
from service.http.endpoint import Endpoint
from service.http.request import Req
from service.http.responses import render


class PathRouter(Router):
    """Routes by the raw path, so that a percent-encoded slash does not end a path segment."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handles a request."""
        if scope["type"] == "http":
            scope["path"] = scope["raw_path"].decode("latin-1")
        await self.app(scope, receive, send)

    async def not_found(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers a request without a matching route."""
        await render(NotFound("There is no such route."))(scope, receive, send)


class PathRoute(Route):
    """The endpoints of one path. A wrong method is answered with all allowed ones.

    The router tries later routes for other methods first, and comes back here if none matches.
    """

    def __init__(self, path: str, endpoints: dict[str, Endpoint]) -> None:
        super().__init__(path, self.handle, methods=[*endpoints, "OPTIONS"])
        self.endpoints = endpoints
        self.allowed = ", ".join(sorted({*endpoints, "OPTIONS", *({"HEAD"} if "GET" in endpoints else ())}))

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers a request."""
        req = Req(scope, receive)
        req.record.route = self.path
        try:
            if req.method == "OPTIONS":
                response = Response(status_code=HTTPStatus.NO_CONTENT, headers={"Allow": self.allowed})
            elif one := self.endpoints.get("GET" if req.method == "HEAD" else req.method):
                response = await one.answer(req)
            else:
                response = render(MethodNotAllowed())
                response.headers["Allow"] = self.allowed
            await response(scope, receive, send)
        finally:
            req.body.leave_room()


def routes(endpoints: Iterable[Endpoint]) -> list[PathRoute]:
    """One route per path."""
    by_path: dict[str, dict[str, Endpoint]] = {}
    for one in endpoints:
        by_path.setdefault(one.path, {})[one.method] = one
    return [PathRoute(path, methods) for path, methods in by_path.items()]
