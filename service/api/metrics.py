"""Metrics for Prometheus."""

from prometheus_client import CONTENT_TYPE_LATEST
from starlette.responses import Response

from service.http.auth import metrics_reader
from service.http.endpoint import endpoint
from service.http.request import Req
from service.observability import metrics
from service.queries import indexes


@endpoint("GET", "/metrics", guard=metrics_reader, produces="text/plain", is_probe=True)
async def get_metrics(req: Req) -> Response:
    """Metrics of requests, uploads, searches, connections and indexes, with the admin key or the metrics key."""
    summary = await indexes.summarise_indexes(req.pool, recall=req.services.settings.service_recall)
    metrics.note_indexes(summary.projects, summary.rows, summary.below, summary.builds)
    metrics.note_connections(req.pool.get_size(), req.pool.get_idle_size())
    return Response(metrics.exposed(), media_type=CONTENT_TYPE_LATEST)


endpoints = [get_metrics]
