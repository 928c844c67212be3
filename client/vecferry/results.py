"""The results and the progress of uploads, pushes and pulls."""

from __future__ import annotations

from typing import Literal

import msgspec
from msgspec import field

from vecferry.rows import BadRow


class Progress(msgspec.Struct, frozen=True):
    """The progress of an upload: rows `stored` and `bad` so far, of `total` where it is known.

    In other phases than `sending`, `stored` are the rows that were compared, received, or written.
    """

    stored: int
    bad: int
    total: int | None
    bytes_sent: int
    seconds: float
    phase: Literal["comparing", "sending", "receiving", "writing"] = "sending"


class UploadResult(msgspec.Struct):
    """The result of an upload.

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
    """The result of a push, with `dry_run` the expected one.

    `total` are the rows of the source, without bad ones. `unchanged` ones were already stored, or are `repeated`: a
    later row has their id, and of these the last one counts. `bytes_received` are those of digests.
    """

    total: int = 0
    repeated: int = 0
    deleted: int = 0
    bytes_received: int = 0
    dry_run: bool = False


class PullResult(msgspec.Struct):
    """The result of a pull: `rows` in the file now; `changed` and `deleted` since the last pull.

    `since_last` tells whether only these were fetched.
    """

    rows: int = 0
    changed: int = 0
    deleted: int = 0
    since_last: bool = False
    bytes_received: int = 0
    seconds: float = 0.0
