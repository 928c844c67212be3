"""The stored state of a file that was pushed or pulled: an unchanged file need not be read again."""

from __future__ import annotations

import contextlib
import hashlib
import os
import sys
import time
from pathlib import Path

import msgspec

SETTLED = 2.0  # seconds, as exact as the times of some file systems are: what changes sooner cannot be seen


class FileState(msgspec.Struct, frozen=True):
    """The state of a file."""

    size: int
    changed: int  # nanoseconds
    inode: int
    noted: int  # nanoseconds; no program can set this time


class Remembered(msgspec.Struct, frozen=True):
    """These files and a project were equal when the `log` of the project was at `changes`.

    `rows` are those of the file. The next changes of the project follow `sequence`. `is_whole`: the project had no
    other rows than the file.
    """

    log: str
    changes: int
    files: list[FileState]
    rows: int
    is_whole: bool
    sequence: int = 0


class Memory:
    """The stored state of files and a project of a service.

    `files` are their states when this is made. Anything read from them later is at least as new.
    """

    def __init__(self, url: str, project: str, paths: list[Path], options: object = None) -> None:
        self._paths, resolved = paths, [path.resolve() for path in paths]
        key = repr((url, project, [str(path) for path in resolved], options))
        folder = _folder()
        self._place = None if folder is None else folder / f"{hashlib.sha256(key.encode()).hexdigest()[:32]}.json"
        self.files = [_state(path) for path in resolved]
        self._is_settled = all(time.time_ns() - one.changed > SETTLED * 1e9 for one in self.files)

    def is_current(self) -> bool:
        """Whether the files, wherever links lead now, are as they were when this was made."""
        try:
            return [_state(path) for path in self._paths] == self.files
        except OSError:
            return False

    def recall(self) -> Remembered | None:
        """The stored state, if the files are unchanged."""
        if self._place is None:
            return None
        try:
            found = msgspec.json.decode(self._place.read_bytes(), type=Remembered)
        except (OSError, msgspec.DecodeError):
            return None
        return found if found.files == self.files else None

    def remember(self, what: Remembered, *, is_ours: bool = False) -> None:
        """Keeps it, unless a later change of a file could not be seen, or there is no place to keep it in.

        A file that `is_ours` was just written by this process.
        """
        if self._place is None or not (self._is_settled or is_ours):
            return
        with contextlib.suppress(OSError):
            self._place.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            temporary = self._place.with_suffix(f".{os.getpid()}")
            temporary.write_bytes(msgspec.json.encode(what))
            temporary.replace(self._place)


def _state(path: Path) -> FileState:
    one = path.stat()
    return FileState(one.st_size, one.st_mtime_ns, one.st_ino, one.st_ctime_ns)


def _folder() -> Path | None:
    """The platform's folder for caches; None for a user without a home."""
    try:
        home = Path.home()
    except RuntimeError:
        return None
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA", home / "AppData/Local")) / "vecferry" / "Cache"
    if sys.platform == "darwin":
        return home / "Library/Caches/vecferry"
    return Path(os.environ.get("XDG_CACHE_HOME") or home / ".cache") / "vecferry"
