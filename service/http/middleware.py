"""Plain ASGI middleware."""

import os
import re
import time
from http import HTTPStatus

import structlog
from starlette.datastructures import Headers
from starlette.middleware.cors import CORSMiddleware
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.errors import BadRequest
from service.http.responses import NOT_SNIFFED, NOT_STORED, render
from service.observability import access_log, metrics
from service.observability.access_log import RequestRecord
from service.settings import shared_metrics

_REQUEST_ID = re.compile(r"[!-~]{1,128}")


class Cors(CORSMiddleware):
    """CORS, with refusals in the form of all others."""

    def preflight_response(self, request_headers: Headers) -> Response:
        """The answer to a browser that asks what a page may send."""
        answer = super().preflight_response(request_headers)
        if answer.status_code == HTTPStatus.OK:
            return answer
        refusal = render(BadRequest(f"{bytes(answer.body).decode()}."))
        refusal.headers.update(
            {name: value for name, value in answer.headers.items() if not name.startswith("content-")}
        )
        return refusal


class Observed:
    """Gives every answer an `X-Request-ID`, the caller's or a new one, and the headers against caches and sniffing.

    When the request has ended, writes its line in the access log, and counts it in the metrics.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Passes the request on, with `headers` and the `record` in its state (`service.http.request.State`)."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        start = time.perf_counter()
        # By their names in lower case; of several the first.
        sent_headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in reversed(scope["headers"])}
        sent = sent_headers.get("x-request-id", "")
        record = RequestRecord(sent if _REQUEST_ID.fullmatch(sent) else os.urandom(16).hex(), scope["method"])
        scope.setdefault("state", {}).update(record=record, headers=sent_headers)
        structlog.contextvars.bind_contextvars(request_id=record.request_id)  # the request's task has its own

        async def send_with_id(message: Message) -> None:
            if message["type"] == "http.response.start":
                record.status = message["status"]
                headers = message["headers"]
                headers.append((b"x-request-id", record.request_id.encode()))
                headers.append(NOT_SNIFFED)
                if all(name != b"cache-control" for name, _ in headers):
                    headers.append(NOT_STORED)
                if record.from_replica:
                    headers.append((b"x-read-from", b"replica"))
            await send(message)

        try:
            await self.app(scope, receive, send_with_id)
        finally:
            record.seconds, record.ended = time.perf_counter() - start, time.time()
            access_log.write(record)
            metrics.count(record)
            services = scope["state"].get("services")
            if services is not None and shared_metrics() is not None:  # else GET /metrics asks the pool
                metrics.note_connections(services.pool)
