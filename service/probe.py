"""The health check of containers: `python -m service.probe`. It runs often, so it imports little.

A service is checked over HTTP. An indexer has no port; it writes its state to a file every few seconds. Commands that
end by themselves are healthy while they run.
"""

import contextlib
import json
import os
import sys
import tempfile
import time
from http import HTTPStatus
from http.client import HTTPConnection, HTTPException
from pathlib import Path

BEAT_SECONDS = 5.0
SILENT_SECONDS = 60.0  # without a write, after which an indexer is unhealthy
POLL_SECONDS = 600.0  # of one poll, without the time in which the database executes its statements
HTTP_SECONDS = 3.0
ANY = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 (addresses to listen on, and to connect to)


class Signs:
    """The state of an indexer, in `embedding-service-indexer.json` in the folder for temporary files."""

    def __init__(self, folder: Path | None = None) -> None:
        self.file = (folder or _temporary()) / "embedding-service-indexer.json"
        self.note_poll()

    def note_poll(self) -> None:
        """Records that a poll has ended, or waits for the database: its statement, a lock, or its return."""
        self.polled = time.monotonic()

    def write(self) -> None:
        """Replaces the file atomically. Raises OSError."""
        said = {"at": time.monotonic(), "polled": self.polled}
        new = self.file.with_suffix(f".{os.getpid()}")
        new.write_text(json.dumps(said))
        new.replace(self.file)

    def fault(self, now: float) -> str | None:
        """The problem of the indexer that wrote the file; None if it is healthy."""
        said = json.loads(self.file.read_text())
        if not 0 <= now - said["at"] <= SILENT_SECONDS:  # less than 0: the machine was restarted
            return f"The indexer has not reported for more than {SILENT_SECONDS:g} s."
        if now - said["polled"] > POLL_SECONDS:
            return f"The indexer has waited for more than {POLL_SECONDS:g} s, but the database executes nothing for it."
        return None


def _temporary() -> Path:
    try:
        return Path(tempfile.gettempdir())
    except FileNotFoundError:  # no folder is writable
        return Path("/tmp")  # noqa: S108


def fault(first: Path = Path("/proc/1/cmdline")) -> str | None:
    """The problem of the container's main process, whose command line is in `first`; None if it is healthy."""
    signs = Signs()
    if signs.file.exists():
        return signs.fault(time.monotonic())
    with contextlib.suppress(OSError):
        if {"migrate", "keys", "--once"} & set(first.read_text().replace("\0", " ").split()):
            return None
    return _service_fault()


def _service_fault() -> str | None:
    from service import settings  # slow, and not needed for the other checks

    try:
        config = settings.load()
        host = ANY.get(config.service_host, config.service_host)
        connection = HTTPConnection(host, config.service_port, timeout=HTTP_SECONDS)  # ignores proxy settings
        with contextlib.closing(connection):
            connection.request("GET", "/healthz")
            status = connection.getresponse().status
    except (settings.SettingsError, OSError, HTTPException) as error:
        return f"The service does not answer: {error}"
    return None if status == HTTPStatus.OK else f"The service answers with {status}."


if __name__ == "__main__":
    sys.exit(fault())
