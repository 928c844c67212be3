"""Whether what runs in this container is well: `python -m service.probe`, which imports little, for it runs often.

A service is asked over HTTP. An indexer listens nowhere; it writes a file every few seconds, from which one can tell
that it goes on looking. Commands that end by themselves are well as long as they run.
"""

import contextlib
import json
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from http import HTTPStatus
from http.client import HTTPConnection, HTTPException
from pathlib import Path

BEAT_SECONDS = 5.0
SILENT_SECONDS = 60.0  # from which on an indexer that writes nothing is not well
LOOK_SECONDS = 600.0  # for a look, beside the work on a project, which may take hours
HTTP_SECONDS = 3.0
ANY = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 (addresses to listen on, and to ask)


class Signs:
    """What an indexer says of itself, in `embedding-service-indexer.json` in the folder for temporary files."""

    def __init__(self, folder: Path | None = None) -> None:
        self.file = (folder or _temporary()) / "embedding-service-indexer.json"
        self._is_at_work = False
        self.note_look()

    def note_look(self) -> None:
        """A look has ended: all was done, or the database was away, which is not the indexer's fault."""
        self._looked = time.monotonic()

    @contextlib.contextmanager
    def at_work(self) -> Iterator[None]:
        """While the block runs, a project is worked on."""
        self._is_at_work = True
        try:
            yield
        finally:
            self._is_at_work = False

    def write(self) -> None:
        """Replaces the file atomically. Raises OSError."""
        said = {"at": time.monotonic(), "looked": self._looked, "is_at_work": self._is_at_work}
        new = self.file.with_suffix(f".{os.getpid()}")
        new.write_text(json.dumps(said))
        new.replace(self.file)

    def fault(self, now: float) -> str | None:
        """What is wrong with the indexer that wrote the file last; None when nothing is."""
        said = json.loads(self.file.read_text())
        if not 0 <= now - said["at"] <= SILENT_SECONDS:  # less than 0: the machine has been started anew
            return f"The indexer has given no sign for more than {SILENT_SECONDS:g} s."
        if now - said["looked"] > LOOK_SECONDS and not said["is_at_work"]:
            return f"The indexer's poll has taken more than {LOOK_SECONDS:g} s."
        return None


def _temporary() -> Path:
    try:
        return Path(tempfile.gettempdir())
    except FileNotFoundError:  # nothing can be written anywhere
        return Path("/tmp")  # noqa: S108


def fault(first: Path = Path("/proc/1/cmdline")) -> str | None:
    """What is wrong with what runs here; None when nothing is. `first` has the command line of the first process."""
    signs = Signs()
    if signs.file.exists():
        return signs.fault(time.monotonic())
    with contextlib.suppress(OSError):
        if {"migrate", "keys", "--once"} & set(first.read_text().replace("\0", " ").split()):
            return None
    return _service_fault()


def _service_fault() -> str | None:
    from service import settings  # the other ways do without

    try:
        config = settings.load()
        host = ANY.get(config.service_host, config.service_host)
        connection = HTTPConnection(host, config.service_port, timeout=HTTP_SECONDS)  # without a proxy, whatever is set
        with contextlib.closing(connection):
            connection.request("GET", "/healthz")
            status = connection.getresponse().status
    except (settings.SettingsError, OSError, HTTPException) as error:
        return f"The service does not answer: {error}"
    return None if status == HTTPStatus.OK else f"The service answers with {status}."


if __name__ == "__main__":
    sys.exit(fault())
