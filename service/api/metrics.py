"""Metrics for Prometheus."""

import asyncio

from msgspec.structs import asdict
from prometheus_client import CONTENT_TYPE_LATEST
from starlette.responses import Response

from service.database.errors import explain
from service.http.auth import metrics_reader
from service.http.endpoint import endpoint
from service.http.request import Req
from service.observability import metrics
from service.queries import indexes

SUMMARY_SECONDS = 2.0


@endpoint("GET", "/metrics", guard=metrics_reader, produces="text/plain", is_probe=True)
async def get_metrics(req: Req) -> Response:
    """Metrics of requests, uploads, searches, connections and indexes, with the admin key or the metrics key."""
    metrics.note_connections(req.pool.get_size(), req.pool.get_idle_size(), req.pool.get_max_size())
    try:
        async with asyncio.timeout(SUMMARY_SECONDS):
            # Not on a connection of users: metrics are needed most when all of these are in use.
            summary = await indexes.summarise_indexes(req.services.probe_pool, recall=req.settings.service_recall)
        for name, value in asdict(summary).items():
            metrics.INDEXES[name].set(value)
    except Exception as error:  # no connection, or no database: the metrics of indexes keep their values
        if explain(error) is None:
            raise
    return Response(metrics.exposed(), media_type=CONTENT_TYPE_LATEST)
