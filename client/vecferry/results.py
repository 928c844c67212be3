"""What uploads, pushes and pulls did, and how far they are."""

from __future__ import annotations

from typing import Literal

import msgspec
from msgspec import field

from vecferry.rows import BadRow


class Progress(msgspec.Struct, frozen=True):
    """How far an upload is: rows `stored` and `bad` so far, of `total` where it is known.

    In other phases than `sending`, `stored` are the rows that were compared, received, or written.
    """

    stored: int
    bad: int
    total: int | None
    bytes_sent: int
    seconds: float
    phase: Literal["comparing", "sending", "receiving", "writing"] = "sending"


class UploadResult(msgspec.Struct):
    """What became of an upload.

    `bad` are the first 1,000 rows that could not be stored, `bad_count` all of them. `largest_loss` is the largest
    error of a component by rounding to half precision, as a share of the largest component of its vector.
    """

    inserted: int = 0
    updated: int = 0
    unchanged: int = 0
    bad: list[BadRow] = field(default_factory=list)
    bad_count: int = 0
    largest_loss: float = 0.0
    seconds: float = 0.0
    bytes_sent: int = 0

    @property
    def stored(self) -> int:
        """Rows that are stored now: inserted, updated and unchanged ones."""
        return self.inserted + self.updated + self.unchanged


class PushResult(UploadResult):
    """What a push did, or with `dry_run` would do. `unchanged` are rows that need not be sent, or were stored already.

    `total` are the rows of the source, without bad ones. `bytes_received` are those of digests.
    """

    total: int = 0
    deleted: int = 0
    bytes_received: int = 0
    dry_run: bool = False


class PullResult(msgspec.Struct):
    """What a pull did: `rows` are in the file now; `changed` and `deleted` is how many were since the last pull.

    `since_last` tells whether only these were fetched.
    """

    rows: int = 0
    changed: int = 0
    deleted: int = 0
    since_last: bool = False
    bytes_received: int = 0
    seconds: float = 0.0
