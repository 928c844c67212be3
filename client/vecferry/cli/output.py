"""The output: tables for people, and JSON for programs."""

from __future__ import annotations

import shutil
import unicodedata
from collections.abc import Sequence
from typing import Any

import click
import msgspec

NARROWEST = 20  # columns that the last column of a table has at least
WIDTH = 120  # of a table that goes to no terminal


def show(result: Any) -> None:
    """Prints a result as one JSON document, in UTF-8 for any terminal."""
    click.echo(msgspec.json.encode(result, enc_hook=_numbers))


def clean(text: str) -> str:
    """A text on one line, without the control characters by which it could change the terminal."""
    return "".join(letter if letter.isprintable() else "\ufffd" for letter in " ".join(text.split()))


def table(heads: Sequence[str], rows: Sequence[Sequence[str]], *, numbers: Sequence[int] = ()) -> None:
    """Prints aligned columns; those in `numbers` (from 0) to the right. The last one is cut where the line ends."""
    lines = [list(heads), *([clean(cell) for cell in row] for row in rows)]
    widths = [max(map(_width, column)) for column in zip(*lines, strict=True)][:-1]
    room = max(NARROWEST, shutil.get_terminal_size((WIDTH, 0)).columns - sum(widths) - 2 * len(widths))
    for line in lines:
        cells = [
            " " * (width - _width(cell)) + cell if place in numbers else cell + " " * (width - _width(cell))
            for place, (cell, width) in enumerate(zip(line[:-1], widths, strict=True))
        ]
        click.echo("  ".join([*cells, cut(line[-1], room)]).rstrip())


def pairs(values: dict[str, str]) -> None:
    """Prints names and values, one pair a line."""
    width = max(map(_width, values))
    for name, value in values.items():
        click.echo(f"{name:{width}}  {clean(value)}")


def counted(count: int, what: str = "embedding") -> str:
    """A number with its noun: `1 embedding`, `2,000 embeddings`."""
    return f"{count:,} {what}{'' if count == 1 else 's'}"


def _width(text: str) -> int:
    return sum(0 if unicodedata.combining(one) else 1 + (unicodedata.east_asian_width(one) in "WF") for one in text)


def cut(text: str, room: int) -> str:
    """The beginning of a text, cut to a number of columns."""
    if _width(text) <= room:
        return text
    while _width(text) > room - 1:
        text = text[: min(len(text) - 1, room)]
    return text.rstrip() + "…"


def _numbers(value: Any) -> Any:
    """Vectors: the shortest decimals that are rounded to the same float16."""
    return [float(str(one)) for one in value]
