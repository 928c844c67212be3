"""Requests to their endpoints: by the path, then by the method."""

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
    """Routes on the path as it was sent, so that a percent-encoded slash does not end a path segment."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Passes the request on."""
        if scope["type"] == "http":
            scope["path"] = scope["raw_path"].decode("latin-1")
        await super().__call__(scope, receive, send)

    async def not_found(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers a request whose path no route has."""
        await render(NotFound("There is no such route."))(scope, receive, send)


class PathRoute(Route):
    """The endpoints of one path, so that the answer to a wrong method names all the right ones.

    A method that this path does not have is looked for on the paths behind it, and refused here when none has it.
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
    """One route for each path of these endpoints."""
    by_path: dict[str, dict[str, Endpoint]] = {}
    for one in endpoints:
        by_path.setdefault(one.path, {})[one.method] = one
    return [PathRoute(path, methods) for path, methods in by_path.items()]
