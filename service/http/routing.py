"""Requests to their endpoints: by the path, then by the method."""

from collections.abc import Iterable
from http import HTTPStatus

from starlette.responses import Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from service.errors import MethodNotAllowed, NotFound
from service.http.endpoint import Endpoint
from service.http.request import Req
from service.http.responses import render


def routes(endpoints: Iterable[Endpoint]) -> list[Route]:
    """One route a path, so that a wrong method is told all the right ones."""
    by_path: dict[str, dict[str, Endpoint]] = {}
    for one in endpoints:
        by_path.setdefault(one.path, {})[one.method] = one
    return [_Path(path, _Methods(path, methods), methods=[*methods, "OPTIONS"]) for path, methods in by_path.items()]


async def no_route(scope: Scope, receive: Receive, send: Send) -> None:
    """Answers a request that goes nowhere."""
    await render(NotFound("There is no such route."))(scope, receive, send)


class _Path(Route):
    """A path for some methods: others are tried on the paths behind it, and refused here when none of them knows it."""

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers a request."""
        await self.app(scope, receive, send)


class _Methods:
    """The endpoints of a path, as an ASGI application: Starlette would wrap a function twice to handle its errors."""

    def __init__(self, path: str, methods: dict[str, Endpoint]) -> None:
        self.path = path
        self.methods = methods
        self.allowed = ", ".join(sorted({*methods, "OPTIONS", *({"HEAD"} if "GET" in methods else ())}))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers a request."""
        req = Req(scope, receive)
        req.facts.route = self.path
        try:
            if req.method == "OPTIONS":
                response = Response(status_code=HTTPStatus.NO_CONTENT, headers={"Allow": self.allowed})
            elif one := self.methods.get("GET" if req.method == "HEAD" else req.method):
                response = await one(req)
            else:
                response = render(MethodNotAllowed())
                response.headers["Allow"] = self.allowed
            await response(scope, receive, send)
        finally:
            if req.facts.room:
                req.gate.leave(req.facts.room)
