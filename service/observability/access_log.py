"""The access log: a line per request."""

from http import HTTPStatus

import msgspec

from service.observability.logs import logger

CLIENT_CLOSED_REQUEST = 499  # nginx's status for a client that disconnected before the answer


class RequestRecord(msgspec.Struct):
    """A request, for the access log and the metrics.

    `principal` is a user's handle, `admin`, or None for a caller without a key. `rows` counts uploaded embeddings by
    result. `search` is the method of a search. `is_provider_fault`: a provider failed.
    """

    request_id: str
    method: str
    route: str = "none"
    is_probe: bool = False
    status: int = CLIENT_CLOSED_REQUEST
    seconds: float = 0.0
    principal: str | None = None
    rows: dict[str, int] | None = None
    search: str | None = None
    search_seconds: float = 0.0
    from_replica: bool = False
    is_provider_fault: bool = False


def write(record: RequestRecord) -> None:
    """Writes the line of a request; successful probes only in debug mode."""
    log = logger.debug if record.is_probe and record.status == HTTPStatus.OK else logger.info
    log(
        "request",
        method=record.method,
        route=record.route,
        status=record.status,
        ms=round(record.seconds * 1000, 2),
        principal=record.principal,
        **({"rows": record.rows} if record.rows else {}),
        **({"search": record.search} if record.search else {}),
        request_id=record.request_id,
    )
