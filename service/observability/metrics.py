"""Prometheus metrics of this process, or of all worker processes together."""

import os
from functools import cache
from http import HTTPStatus
from pathlib import Path

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest, multiprocess
from prometheus_client.core import REGISTRY

from service import __version__, settings
from service.observability.access_log import RequestRecord

_METHODS = frozenset(("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"))
SECONDS = (0.001, 0.002, 0.003, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10, 60)


_REQUESTS = Counter("embedding_service_requests", "Requests.", ["method", "route", "status"])
_FAULTS = Counter("embedding_service_faults", "Requests that failed through no fault of the client or a provider.")
_REQUEST_SECONDS = Histogram(
    "embedding_service_request_seconds", "Duration of requests.", ["method", "route"], buckets=SECONDS
)
_ROWS = Counter("embedding_service_rows", "Uploaded embeddings.", ["result"])
_SEARCH_SECONDS = Histogram(
    "embedding_service_search_seconds", "Duration of searches in the database.", ["method"], buckets=SECONDS
)
_CONNECTIONS = Gauge(
    "embedding_service_connections", "Connections of the pool.", ["state"], multiprocess_mode="livesum"
)
# By the fields of service.queries.indexes.IndexSummary.
INDEXES = {
    field: Gauge(f"embedding_service_{name}", text, multiprocess_mode="mostrecent")
    for field, name, text in (
        ("projects", "index_projects", "Projects with a vector index."),
        ("rows", "index_rows", "Embeddings in a vector index."),
        ("below", "index_below_recall", "Projects with a vector index below SERVICE_RECALL."),
        ("builds", "index_builds", "Indexes in progress, of all kinds."),
        (
            "last_round",
            "indexer_last_round_timestamp_seconds",
            "Unix time at which an indexer, of any process, last finished a round.",
        ),
    )
}
# The worst of all worker processes.
REPLICA_LAG = Gauge("embedding_service_replica_lag_seconds", "Lag of the replica.", multiprocess_mode="livemax")
REPLICA_USED = Gauge(
    "embedding_service_replica_used", "1 if searches and reads use the replica.", multiprocess_mode="livemin"
)
_PROVIDER_CALLS = Counter("embedding_service_provider_calls", "Calls of providers.", ["dialect", "outcome"])
_PROVIDER_SECONDS = Histogram(
    "embedding_service_provider_seconds", "Duration of calls of providers.", ["dialect"], buckets=SECONDS
)
_PROVIDER_TOKENS = Counter("embedding_service_provider_tokens", "Tokens that providers counted.", ["dialect"])
PROVIDERS_RESTING = Gauge(
    "embedding_service_providers_resting",
    "Instances whose provider is not called at the moment, after repeated failures.",
    multiprocess_mode="livemax",
)
_BUILD = Gauge("embedding_service_build_info", "Always 1.", ["version"], multiprocess_mode="max")
_BUILD.labels(__version__).set(1)


def count(record: RequestRecord) -> None:
    """Counts a completed request."""
    method = record.method if record.method in _METHODS else "other"
    requests, request_seconds = _of_route(method, record.route, record.status)
    requests.inc()
    is_fault = record.status >= HTTPStatus.INTERNAL_SERVER_ERROR and record.status != HTTPStatus.NOT_IMPLEMENTED
    if is_fault and not record.is_provider_fault:
        _FAULTS.inc()
    request_seconds.observe(record.seconds)
    for result, rows in (record.rows or {}).items():
        _ROWS.labels(result).inc(rows)
    if record.search is not None:
        _of_search(record.search).observe(record.search_seconds)


@cache  # looking up labels is slower than counting
def _of_route(method: str, route: str, status: int) -> tuple[Counter, Histogram]:
    return _REQUESTS.labels(method, route, status), _REQUEST_SECONDS.labels(method, route)


@cache
def _of_search(method: str) -> Histogram:
    return _SEARCH_SECONDS.labels(method)


def note_connections(total: int, idle: int, most: int) -> None:
    """Sets the numbers of idle and used connections, and of those that may be opened: a pool begins with two."""
    _CONNECTIONS.labels("idle").set(idle)
    _CONNECTIONS.labels("used").set(total - idle)
    _CONNECTIONS.labels("unopened").set(most - total)


def count_provider_call(dialect: str, outcome: str, seconds: float, tokens: int | None) -> None:
    """Counts a completed call of a provider, with its tokens."""
    _PROVIDER_CALLS.labels(dialect, outcome).inc()
    _PROVIDER_SECONDS.labels(dialect).observe(seconds)
    _PROVIDER_TOKENS.labels(dialect).inc(tokens or 0)


def exposed() -> bytes:
    """All metrics in Prometheus' format."""
    folder = settings.shared_metrics()
    if folder is None:
        return generate_latest(REGISTRY)
    _forget_dead_processes(folder)
    registry = CollectorRegistry()
    multiprocess.MultiProcessCollector(registry, str(folder))  # type: ignore[no-untyped-call]
    return generate_latest(registry)


def _forget_dead_processes(folder: Path) -> None:
    """Removes the states of killed worker processes, which count as live otherwise, beside their successors."""
    for pid in {int(file.stem.rpartition("_")[2]) for file in folder.glob("gauge_live*_*.db")}:
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            multiprocess.mark_process_dead(pid, str(folder))  # type: ignore[no-untyped-call]
