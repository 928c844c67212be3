"""Metrics for Prometheus."""

from prometheus_client import CONTENT_TYPE_LATEST
from starlette.responses import Response

from service.database import errors as database_errors
from service.errors import ApiError
from service.http.auth import metrics_reader
from service.http.endpoint import endpoint
from service.http.request import Req
from service.observability import metrics
from service.queries import indexes


@endpoint("GET", "/metrics", guard=metrics_reader, produces="text/plain", is_probe=True)
async def get_metrics(req: Req) -> Response:
    """Metrics of requests, uploads, searches, connections and indexes, with the admin key or the metrics key.

    Those of indexes are the last known while the database does not answer.
    """
    try:
        summary = await indexes.summarise_indexes(req.pool, recall=req.services.settings.service_recall)
        metrics.note_indexes(summary.projects, summary.rows, summary.below, summary.builds)
    except Exception as error:  # the other metrics matter most while the database is busy or unavailable
        if not isinstance(error, ApiError) and database_errors.explain(error) is None:
            raise
    metrics.note_connections(req.pool.get_size(), req.pool.get_idle_size())
    return Response(metrics.exposed(), media_type=CONTENT_TYPE_LATEST)


endpoints = [get_metrics]
