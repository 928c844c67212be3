"""Requests that have ended, into the log and the metrics.

Those of a moment go together: each by itself, with caches that are cold, would make the next request wait for 0.1 ms.
"""

import asyncio
from datetime import UTC, datetime
from http import HTTPStatus

from service import settings
from service.observability import metrics
from service.observability.logs import logger
from service.observability.metrics import PROBES, Connections, Facts

SECONDS = 0.02

_ended: list[Facts] = []


def note(facts: Facts, pool: Connections | None) -> None:
    """Notes a request that has ended, and whose answer is sent, in a moment; with it how `pool` is used."""
    if not _ended:
        asyncio.get_running_loop().call_later(SECONDS, note_all, pool)
    _ended.append(facts)


def note_all(pool: Connections | None = None) -> None:
    """Notes now what has ended."""
    for facts in _ended:
        metrics.count(facts)
        _log(facts)
    _ended.clear()
    if pool is not None and settings.shared_metrics() is not None:  # else it is noted when somebody looks
        metrics.note_connections(pool)


def _log(facts: Facts) -> None:
    log = logger.debug if facts.route in PROBES and facts.status == HTTPStatus.OK else logger.info
    log(
        "request",
        method=facts.method,
        route=facts.route,
        status=facts.status,
        ms=round(facts.seconds * 1000, 2),
        principal=facts.principal,
        **({"rows": facts.rows} if facts.rows else {}),
        **({"search": facts.search} if facts.search else {}),
        request_id=facts.request_id,
        timestamp=datetime.fromtimestamp(facts.ended, UTC).isoformat().replace("+00:00", "Z"),
    )
