"""OpenTelemetry traces of requests and statements, where the extra `tracing` is installed and they are asked for.

Where they are sent, and how many of them, say OpenTelemetry's own variables, such as OTEL_EXPORTER_OTLP_ENDPOINT.
"""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

from starlette.types import ASGIApp, Receive, Scope, Send

from service import sql
from service.settings import SettingsError


@contextmanager
def tracing() -> Iterator[None]:
    """Traces in the block, and sends what is left at its end. Raises SettingsError without the extra."""
    try:
        from opentelemetry import trace
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    except ImportError as error:
        raise SettingsError(f"SERVICE_TRACING needs the extra `tracing`: there is no {error.name}.") from None
    provider = TracerProvider(resource=Resource.create({"service.name": "embedding-service"}))
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    trace.set_tracer_provider(provider)
    tracer = provider.get_tracer(__name__)

    def span(statement: str) -> AbstractContextManager[Any]:
        # What an error of the database says repeats whole rows: only that there was one is told.
        return tracer.start_as_current_span(
            statement,
            attributes={"db.system.name": "postgresql"},
            record_exception=False,
            set_status_on_exception=False,
        )

    sql.trace(span)
    try:
        yield
    finally:
        sql.trace(None)
        provider.shutdown()


class Traced:
    """The application with a span for each request, which goes on with the caller's trace.

    No span sees the query, in which somebody may have put a key.
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
        """Passes the request on."""
        if scope["type"] == "http":
            scope = {**scope, "query_kept": scope["query_string"], "query_string": b""}
        await self._traced(scope, receive, send)
