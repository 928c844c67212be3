"""OpenTelemetry traces of requests and statements, with SERVICE_TRACING and the extra `tracing`.

OpenTelemetry's own variables, such as OTEL_EXPORTER_OTLP_ENDPOINT, configure the destination and the sampling.
"""

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

from starlette.types import ASGIApp, Receive, Scope, Send

from service.settings import SettingsError

_tracers: list[Any] = []  # the tracer of this process, if it is active
_NOTHING = nullcontext()


def span(name: str, attributes: Mapping[str, str]) -> AbstractContextManager[Any]:
    """A span for a statement or a call of a provider, if tracing is active."""
    if not _tracers:
        return _NOTHING
    # Without exceptions: errors of the database may contain rows, those of a provider its key.
    started: AbstractContextManager[Any] = _tracers[0].start_as_current_span(
        name,
        attributes=attributes,
        record_exception=False,
        set_status_on_exception=False,
    )
    return started


@contextmanager
def tracing() -> Iterator[None]:
    """Activates tracing during the block. Raises SettingsError without the extra."""
    try:
        from opentelemetry import trace
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    except ImportError as error:
        raise SettingsError(f"SERVICE_TRACING needs the extra `tracing`: {error.name} is not installed.") from None
    provider = TracerProvider(resource=Resource.create({"service.name": "embedding-service"}))
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    trace.set_tracer_provider(provider)
    tracer = provider.get_tracer(__name__)

    _tracers.append(tracer)
    try:
        yield
    finally:
        _tracers.clear()
        provider.shutdown()


class Traced:
    """The application with a span for each request, in the caller's trace.

    Spans do not contain the query string, which may contain a key.
    """

    def __init__(self, app: ASGIApp) -> None:
        from opentelemetry.instrumentation.asgi import OpenTelemetryMiddleware

        async def with_query(scope: Scope, receive: Receive, send: Send) -> None:
            if "query_kept" in scope:
                scope["query_string"] = scope["query_kept"]
            await app(scope, receive, send)

        self._traced = OpenTelemetryMiddleware(
            with_query, exclude_spans=["receive", "send"], excluded_urls="healthz,readyz,metrics"
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handles a request."""
        if scope["type"] == "http":
            scope = {**scope, "query_kept": scope["query_string"], "query_string": b""}
        await self._traced(scope, receive, send)
