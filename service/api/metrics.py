"""What Prometheus scrapes."""

from prometheus_client import CONTENT_TYPE_LATEST
from starlette.responses import Response

from service import metrics, noting
from service.auth import metrics_reader
from service.http import endpoint
from service.queries import indexes
from service.request import Req


@endpoint("GET", "/metrics", guard=metrics_reader, produces="text/plain")
async def get_metrics(req: Req) -> Response:
    """Requests, uploads, searches, connections and indexes, for Prometheus, with the admin's key or the metrics key."""
    summary = await indexes.summarise_indexes(req.db)
    if summary is not None:
        metrics.note_indexes(summary.projects, summary.rows, summary.builds)
    metrics.note_connections(req.db)
    noting.note_all()
    return Response(metrics.exposed(), media_type=CONTENT_TYPE_LATEST)


endpoints = [get_metrics]
