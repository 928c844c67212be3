"""ASGI middleware: CORS, request ids, access log and metrics."""

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
    """CORS with refusals as problem+json."""

    def preflight_response(self, request_headers: Headers) -> Response:
        """Answers a preflight request."""
        answer = super().preflight_response(request_headers)
        if answer.status_code == HTTPStatus.OK:
            return answer
        refusal = render(BadRequest(f"{bytes(answer.body).decode()}."))
        refusal.headers.update(
            {name: value for name, value in answer.headers.items() if not name.startswith("content-")}
        )
        return refusal


class Observed:
    """Adds an `X-Request-ID`, the caller's or a new one, and the headers against caching and sniffing.

    Writes the access log and the metrics after each request.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app, self._is_one_of_several = app, shared_metrics() is not None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handles a request, with `headers` and `record` in its state (`service.http.request.State`)."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        start = time.perf_counter()
        # By name in lower case; the first of several counts.
        sent_headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in reversed(scope["headers"])}
        sent = sent_headers.get("x-request-id", "")
        record = RequestRecord(sent if _REQUEST_ID.fullmatch(sent) else os.urandom(16).hex(), scope["method"])
        scope["state"].update(record=record, headers=sent_headers)
        structlog.contextvars.bind_contextvars(request_id=record.request_id)  # local to the task of the request

        async def send_with_id(message: Message) -> None:
            if message["type"] == "http.response.start":
                record.status = message["status"]
                headers = message["headers"]
                headers.append((b"x-request-id", record.request_id.encode()))
                headers.append(NOT_SNIFFED)
                if b"cache-control" not in dict(headers):
                    headers.append(NOT_STORED)
                if record.from_replica:
                    headers.append((b"x-read-from", b"replica"))
            await send(message)

        try:
            await self.app(scope, receive, send_with_id)
        finally:
            record.seconds = time.perf_counter() - start
            access_log.write(record)
            metrics.count(record)
            if self._is_one_of_several:  # else GET /metrics reads the pool
                pool = scope["state"]["services"].pool
                metrics.note_connections(pool.get_size(), pool.get_idle_size(), pool.get_max_size())
