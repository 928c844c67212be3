"""What uvicorn logs: as it does by itself, but no query of a request, in which somebody may have put a key."""

import copy
import logging
from typing import Any

from uvicorn.config import LOGGING_CONFIG


class WithoutQuery(logging.Filter):
    """Cuts the query off the path in uvicorn's line for a request."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Always lets the line through; its arguments are client, method, path, HTTP version and status."""
        if isinstance(record.args, tuple) and len(record.args) == 5:
            client, method, path, version, status = record.args
            record.args = (client, method, str(path).partition("?")[0], version, status)
        return True


def config() -> dict[str, Any]:
    """The configuration of uvicorn's logging, which it hands on to its worker processes."""
    own = copy.deepcopy(LOGGING_CONFIG)
    own["filters"] = {"without_query": {"()": "service.logs.WithoutQuery"}}
    own["handlers"]["access"]["filters"] = ["without_query"]
    return own
