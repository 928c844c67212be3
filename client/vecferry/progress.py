"""The display of the progress of an upload."""

from __future__ import annotations

import sys
from collections.abc import Callable

from tqdm.auto import tqdm

from vecferry.results import Progress

Show = Callable[[Progress], None]


def shown(progress: Show | bool | None, total: int | None) -> tuple[Show, Callable[[], object]]:
    """The function to call with each progress, and the one to call at the end.

    True is a bar; None is one on a terminal or in a notebook.
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
