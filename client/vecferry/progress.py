"""How an upload shows how far it is."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Literal

import msgspec
from tqdm.auto import tqdm


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


Show = Callable[[Progress], None]


def shown(progress: Show | bool | None, total: int | None) -> tuple[Show, Callable[[], object]]:
    """What is called with each progress, and what at the end.

    True is a bar; None is one where somebody may see it: on a terminal or in a notebook.
    """
    if callable(progress):
        return progress, lambda: None
    if progress is False or (progress is None and not (sys.stderr.isatty() or "ipykernel" in sys.modules)):
        return lambda _: None, lambda: None
    bar = tqdm(total=total, unit=" rows", unit_scale=True)

    def show(now: Progress) -> None:
        if bar.desc != f"{now.phase}: ":
            bar.set_description(now.phase, refresh=False)
        bar.update(now.stored + now.bad - bar.n)
        if now.bad:
            bar.set_postfix(bad=now.bad)

    return show, bar.close
