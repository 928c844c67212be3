"""HTTP on a connection, with limits against hostile clients that uvicorn's protocol lacks.

The head of a request has limits of time, size and lines. A request with an ambiguous end is refused, after the answers
to the requests before it. A client that does not read its answer is disconnected.
"""

import asyncio
from typing import Any, cast
from uuid import uuid4

import httptools
import msgspec
from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle
from uvicorn.server import ServerState

from service.errors import ApiError, BadRequest, Busy, HeadTooLarge, UnknownCoding
from service.http.limits import LEAST_BYTES_A_SECOND, LINGER_SECONDS
from service.http.responses import NOT_SNIFFED, NOT_STORED, PROBLEM
from service.observability import metrics
from service.observability.access_log import RequestRecord
from service.observability.logs import logger
from service.server.transport import JoinedWrites
from service.settings import Settings

MAX_HEAD_BYTES = 64 * 1024
MAX_HEAD_LINES = 100  # including trailers
MAX_WAITING = 100  # pipelined requests
SPARE_SECONDS = 2.0  # for a head on a connection beyond the limit
ALWAYS_ANSWERED = frozenset((b"/healthz", b"/metrics"))


class Protocol(HttpToolsProtocol):
    """One connection, with the limits of the settings in the application's state."""

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        settings: Settings = app_state["services"].settings
        self._head_seconds, self._body_seconds = settings.service_head_seconds, settings.service_body_seconds
        self._most = settings.service_max_connections
        self._is_spare = False  # beyond that number: only probes are answered
        self._is_for_all_pages = "*" in settings.cors_origins
        self._is_head = False  # the parser is in a head
        self._is_fields = False  # or in trailers, where it buffers incomplete lines
        self._is_body = self._is_upgrade = False  # the head is complete, the request is not
        self._came = 0  # bytes since the end of the last message, or of the last chunk of a body
        self._size = self._lines = 0  # of the parsed part of the head
        self._served: RequestResponseCycle | None = None  # `cycle` is the last request received
        self._refusal: ApiError | None = None  # after which nothing is read
        self._head_clock: asyncio.TimerHandle | None = None
        self._write_clock: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Starts the time limit of the first head."""
        super().connection_made(cast("asyncio.Transport", JoinedWrites(transport, self.loop)))
        if len(self.connections) > self._most:
            self._is_spare = True
            self._head_seconds = min(self._head_seconds, SPARE_SECONDS)
        self._await_head()

    def connection_lost(self, exc: Exception | None) -> None:
        """Notifies the task of the current request, even if later requests were received."""
        super().connection_lost(exc)
        if self._served is not None:
            self._served.disconnected = True
            self._served.message_event.set()
            # Set by service.http for requests that change nothing.
            if (task := self._served.scope["state"].pop("abandonable", None)) is not None:
                task.cancel()
        self.pipeline.clear()
        for clock in (self._head_clock, self._write_clock):
            if clock is not None:
                clock.cancel()

    def data_received(self, data: bytes) -> None:
        """Parses data. uvicorn's own method loses the body of a request with `Upgrade`."""
        self._unset_keepalive_if_required()
        if self._refusal is not None:
            return  # lingering
        self._came += len(data)
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            self._ignore_upgrade(data[upgrade.args[0] :])
            return
        except httptools.HttpParserError as error:
            self._refuse(self._refusal or _refusal(error))
            return
        if self._is_fields and self._came > MAX_HEAD_BYTES:
            self._refuse(HeadTooLarge())
        elif self._is_answered():
            self._await_head()

    def _ignore_upgrade(self, rest: bytes) -> None:
        """Parses the head again without `Upgrade`, so that the body is not parsed as a request."""
        start = self.parser.get_method() + b" " + self.url + b" HTTP/" + self.parser.get_http_version().encode()
        lines = [start, *(b"%s: %s" % header for header in self.headers if header[0] != b"upgrade"), b"", b""]
        self.parser = httptools.HttpRequestParser(self)
        self.parser.set_dangerous_leniencies(lenient_data_after_close=True)  # as uvicorn does
        self._is_upgrade = False
        self._came = 0
        self.data_received(b"\r\n".join(lines) + rest)

    def _is_answered(self) -> bool:
        """Whether no request is being served."""
        return self.cycle is None or self.cycle.response_complete

    def _await_head(self) -> None:
        """Starts the time limit of the next head, including the rest of the body before it."""
        if self._head_clock is None:
            self._head_clock = self.loop.call_later(self._head_seconds, self._give_up)

    def _give_up(self) -> None:
        logger.info("dropped", why="Timeout while reading a request.")
        self.transport.close()  # sends the rest of an answer first

    # Callbacks of the parser

    def on_message_begin(self) -> None:
        """A head begins."""
        if len(self.pipeline) >= MAX_WAITING:
            raise self._remember(BadRequest("Too many pipelined requests."))
        self._is_head = self._is_fields = True
        self._size = self._lines = 0
        super().on_message_begin()

    def on_url(self, url: bytes) -> None:
        """A piece of the path and query."""
        self._count(len(url))
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        """A line of the head, or a trailer, which is ignored."""
        self._lines += 1
        self._count(len(name) + len(value) + len(b": \r\n"))
        if self._is_head:
            super().on_header(name, value)

    def _count(self, size: int) -> None:
        self._size += size
        if self._size > MAX_HEAD_BYTES or self._lines > MAX_HEAD_LINES:
            raise self._remember(HeadTooLarge())

    def on_headers_complete(self) -> None:
        """A head is complete: its request is served or queued."""
        self._is_head = self._is_fields = False
        hosts = [name for name, _ in self.headers].count(b"host")
        match self.parser.get_http_version():
            case "1.1" if hosts != 1:
                raise self._remember(BadRequest("A request must have exactly one Host header."))
            case "1.0" if hosts > 1:
                raise self._remember(BadRequest("A request must not have several Host headers."))
            case "1.0" | "1.1":
                pass
            case _:
                raise self._remember(BadRequest("Only HTTP/1.1 and HTTP/1.0 are supported."))
        codings = [value.strip().lower() for name, value in self.headers if name == b"transfer-encoding"]
        if codings not in ([], [b"chunked"]):  # the parser would not decode the body
            raise self._remember(UnknownCoding())
        if self.parser.should_upgrade():
            if self.parser.get_method() == b"CONNECT":
                raise self._remember(BadRequest("CONNECT is not supported."))
            self._is_upgrade = True
            return
        if self._is_spare and self.url.partition(b"?")[0] not in ALWAYS_ANSWERED:
            raise self._remember(Busy(f"More than {self._most:,} connections are open: reuse one, or retry later."))
        if self._head_clock is not None:
            self._head_clock.cancel()
            self._head_clock = None
        super().on_headers_complete()
        if self._is_spare:
            self.cycle.keep_alive = False
        self._is_body = True

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        self._served = cycle
        super()._start_asgi_task(cycle, app)

    def on_chunk_header(self) -> None:
        """A chunk of a body begins, or the trailers after the last one."""
        self._is_fields = True
        self._came = 0

    def on_body(self, body: bytes) -> None:
        """A piece of a body."""
        self._is_fields = False
        super().on_body(body)

    def on_message_complete(self) -> None:
        """A request is complete."""
        self._is_fields = self._is_body = False
        self._came = 0
        if not self._is_upgrade:
            super().on_message_complete()

    # Refusals

    def _remember(self, refusal: ApiError) -> ApiError:
        """Keeps the error, which the parser replaces by its own."""
        self._refusal = refusal
        return refusal

    def _refuse(self, refusal: ApiError) -> None:
        """Stops reading, and sends the refusal after the answers to earlier requests."""
        self._refusal = refusal
        if not self._is_body and self._is_answered():
            self._send_refusal(refusal)
        elif not self._is_body:
            self.flow.pause_reading()
        elif self.pipeline:
            self.pipeline.popleft()  # the malformed body is that of the last queued request
            self.flow.pause_reading()
        elif self.cycle.response_started:
            self.transport.close()  # its answer has begun, so no error can be sent
        else:
            self.cycle.disconnected = True
            self.cycle.message_event.set()
            self._send_refusal(refusal)

    def _send_refusal(self, refusal: ApiError) -> None:
        request_id = uuid4().hex
        body = msgspec.json.encode(refusal.body())
        headers = [
            *self.server_state.default_headers,
            (b"content-type", PROBLEM.encode()),
            (b"content-length", str(len(body)).encode()),
            (b"x-request-id", request_id.encode()),
            *(NOT_STORED, NOT_SNIFFED, (b"vary", b"Origin")),
            *([(b"access-control-allow-origin", b"*")] if self._is_for_all_pages else ()),
            *([(b"retry-after", b"1")] if isinstance(refusal, Busy) else ()),
            (b"connection", b"close"),
        ]
        lines = b"".join(b"%s: %s\r\n" % header for header in headers)
        self.transport.write(STATUS_LINE[refusal.status] + lines + b"\r\n" + body)
        metrics.count(RequestRecord(request_id, method="other", status=refusal.status.value))
        logger.info("refused", request_id=request_id, status=refusal.status.value, why=refusal.detail)
        # A client that is still sending would lose the answer to a reset connection.
        if self.transport.can_write_eof():
            self.transport.write_eof()
        if self._head_clock is not None:
            self._head_clock.cancel()
        self._head_clock = self.loop.call_later(LINGER_SECONDS, self.transport.abort)

    # Answers

    def on_response_complete(self) -> None:
        """An answer is complete; serves the next request."""
        is_last = not self.pipeline
        super().on_response_complete()
        if self.transport.get_write_buffer_size():
            self._await_reading()
        if is_last and not self.transport.is_closing():
            if self._refusal is not None:
                self._send_refusal(self._refusal)
            elif self._came:
                self._await_head()  # a part of this body or of the next head was received

    def pause_writing(self) -> None:
        """The client reads slower than the answer is written."""
        super().pause_writing()
        self._await_reading()

    def resume_writing(self) -> None:
        """The client has read most of the output; further output has a new time limit."""
        super().resume_writing()
        if self._write_clock is not None:
            self._write_clock.cancel()
            self._write_clock = None

    def _await_reading(self) -> None:
        """Starts the limit on how slowly the client reads."""
        if self._write_clock is None:
            unsent = self.transport.get_write_buffer_size()
            self._write_clock = self.loop.call_later(self._body_seconds, self._check_reading, unsent)

    def _check_reading(self, before: int) -> None:
        self._write_clock = None
        unsent = self.transport.get_write_buffer_size()
        if not unsent:
            return
        is_waited_for = self.flow.write_paused or self.transport.is_closing()
        if is_waited_for and before - unsent < LEAST_BYTES_A_SECOND * self._body_seconds:
            logger.info("dropped", why="Timeout while writing an answer.", unread_bytes=unsent)
            self.transport.abort()
        else:
            self._await_reading()


def _refusal(error: httptools.HttpParserError) -> BadRequest:
    """The answer to a malformed request. (httptools reports a URL with a space as a missing `HTTP/`.)"""
    if isinstance(error, httptools.HttpParserInvalidURLError) or "Expected HTTP/" in str(error):
        return BadRequest("The path or query contains a space or a non-ASCII character, which must be percent-encoded.")
    return BadRequest("Malformed HTTP/1.1 request: its end cannot be determined.")
