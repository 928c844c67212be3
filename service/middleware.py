"""Plain ASGI middleware."""

import os
import re
import time

import structlog
from starlette.middleware.cors import CORSMiddleware
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service import noting
from service.metrics import Facts

_REQUEST_ID = re.compile(r"[!-~]{1,128}")


class RawPath:
    """Routes on the path as it was sent, so that a percent-encoded slash does not end a path segment.

    `service.http` decodes each path parameter afterwards.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Passes the request on."""
        if scope["type"] == "http":
            scope["path"] = scope["raw_path"].decode("latin-1")
        await self.app(scope, receive, send)


class ForPages(CORSMiddleware):
    """CORS, for requests that come from a page: those name their origin. Others need none of it, and save the time."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Passes the request on."""
        if scope["type"] != "http" or "origin" in scope["state"]["headers"]:
            await super().__call__(scope, receive, send)
        else:
            await self.app(scope, receive, send)


class Observed:
    """Gives every answer an `X-Request-ID`: the caller's, when it sent a printable one, else a new one.

    When the request has ended, writes its line in the log, and counts it.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Passes the request on, with `state.headers`, and `state.facts` for others to fill in."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        start = time.perf_counter()
        # By their names in lower case; of several the first.
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in reversed(scope["headers"])}
        sent = headers.get("x-request-id", "")
        facts = Facts(sent if _REQUEST_ID.fullmatch(sent) else os.urandom(16).hex(), scope["method"])
        scope.setdefault("state", {}).update(facts=facts, headers=headers)
        structlog.contextvars.bind_contextvars(request_id=facts.request_id)  # the request's task has its own

        async def send_with_id(message: Message) -> None:
            if message["type"] == "http.response.start":
                facts.status = message["status"]
                message["headers"].append((b"x-request-id", facts.request_id.encode()))
                if facts.from_replica:
                    message["headers"].append((b"x-read-from", b"replica"))
            await send(message)

        try:
            await self.app(scope, receive, send_with_id)
        finally:
            facts.seconds, facts.ended = time.perf_counter() - start, time.time()
            noting.note(facts, scope["state"].get("pool"))
