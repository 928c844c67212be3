"""`search`, `get`, `delete`: the embeddings of a project."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click
import msgspec

from vecferry.cli.group import NOT_FOUND, commands
from vecferry.cli.output import clean, counted, cut, show, table
from vecferry.cli.parameters import (
    JSON_OBJECT,
    PROJECT,
    TEXT,
    common,
    connected,
    is_agreed,
    require_terminal,
    yes_option,
)

if TYPE_CHECKING:
    from vecferry.structs import Embedding, Similar

METADATA_WIDTH = 48  # columns in a table

filter_option = click.option(
    "--filter",
    "metadata",
    type=JSON_OBJECT,
    help='Only those whose metadata match, such as \'{"year": {"$gte": 1900}}\'.',
)


@commands.command(epilog='\b\nExample: vecferry search alice/poems "a flower with thorns" --limit 3')
@click.argument("project", type=PROJECT)
@click.argument("text", required=False, type=TEXT)
@click.option("--id", "text_id", type=TEXT, help="Search for texts similar to this stored text, in place of TEXT.")
@click.option(
    "--vector",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Search for texts similar to the vector in this file: .npy, or a list of numbers in .json.",
)
@click.option("--limit", type=click.IntRange(1, 200), default=10, show_default=True, help="How many to show.")
@filter_option
@click.option(
    "--include",
    type=click.Choice(["text", "metadata"]),
    multiple=True,
    default=["text"],
    show_default=True,
    help="The part of each to show. May be given twice.",
)
@common
def search(
    project: str,
    text: str | None,
    text_id: str | None,
    vector: Path | None,
    limit: int,
    metadata: dict[str, Any] | None,
    include: tuple[Literal["text", "metadata"], ...],
    profile: str,
    as_json: bool,
) -> None:
    """Show the texts most similar to a text or a vector.

    To TEXT, which the project's instance embeds, to a stored text, or to a vector of a file. The best come
    first; the similarity goes from -1 to 1.
    """
    if [text, text_id, vector].count(None) != 2:
        raise click.UsageError("Give one of TEXT, --id and --vector")
    wanted = None if vector is None else _vector(vector)
    with connected(profile) as client:
        try:
            found = client.similar(
                project,
                text=text,
                id=text_id,
                vector=wanted,
                limit=limit,
                threshold=-1,  # the reader of the similarity decides what is similar enough
                filter=metadata,
                include=include,
            )
        except ValueError as error:  # of a vector that float16 does not hold
            raise click.UsageError(str(error)) from None
    if as_json:
        show(found)
        return
    extra = [part for part in ("metadata", "text") if part in include]
    rows = [(f"{one.similarity:.4f}", one.id, *(_part(one, part) for part in extra)) for one in found]
    table(("SIMILARITY", "ID", *map(str.upper, extra)), rows, numbers=[0])


@commands.command(epilog="\b\nExample: vecferry get alice/poems rose lily --json")
@click.argument("project", type=PROJECT)
@click.argument("ids", metavar="ID...", nargs=-1, required=True, type=TEXT)
@common
def get(project: str, ids: tuple[str, ...], profile: str, as_json: bool) -> int:
    """Show stored embeddings by their ids.

    With --json also their vectors. The exit code is 4 if some are not there.
    """
    with connected(profile) as client:
        found = client.project(project).embeddings.get_many(ids)
    if as_json:
        show(found)
    elif found.embeddings:
        rows = [
            (
                one.text_id,
                str(one.vector_dim),
                f"{one.updated_at:%Y-%m-%d %H:%M}",
                _part(one, "metadata"),
                one.text or "",
            )
            for one in found.embeddings
        ]
        table(("ID", "DIMENSIONS", "CHANGED (UTC)", "METADATA", "TEXT"), rows, numbers=[1])
    if found.missing and not as_json:
        click.echo(f"Not in {project}: {clean(', '.join(found.missing))}.", err=True)
    return NOT_FOUND if found.missing else 0


@commands.command(epilog='\b\nExample: vecferry delete alice/poems --filter \'{"author": "unknown"}\' --dry-run')
@click.argument("project", type=PROJECT)
@click.argument("ids", metavar="[ID]...", nargs=-1, type=TEXT)
@filter_option
@click.option("--dry-run", is_flag=True, help="Show what would be deleted, without deleting it.")
@yes_option
@common
def delete(
    project: str,
    ids: tuple[str, ...],
    metadata: dict[str, Any] | None,
    dry_run: bool,
    yes: bool,
    profile: str,
    as_json: bool,
) -> int:
    """Delete embeddings by their ids, or by a filter.

    Shows their number, and asks; a filter takes all those whose metadata match it.
    """
    if bool(ids) == (metadata is not None):
        raise click.UsageError("Give either ids or a --filter")
    require_terminal(yes or dry_run)
    with connected(profile) as client:
        embeddings = client.project(project).embeddings
        chosen: dict[str, Any] = {"ids": ids} if ids else {"filter": metadata}
        if not (yes or dry_run):
            count = embeddings.delete(**chosen, dry_run=True).deleted
            if count and not is_agreed(f"Delete {counted(count)} of {project}?", yes):
                raise click.ClickException("Nothing was deleted.")
        deleted = embeddings.delete(**chosen, dry_run=dry_run)
    if as_json:
        show(deleted)
    else:
        click.echo(f"{counted(deleted.deleted)} {'would be deleted' if dry_run else 'deleted'}.")
    return 0


def _part(one: Similar | Embedding, part: str) -> str:
    if part == "text":
        return one.text or ""
    return "" if one.metadata is None else cut(msgspec.json.encode(one.metadata).decode(), METADATA_WIDTH)


def _vector(path: Path) -> Any:
    """A vector `(dimensions,)` of a file; a table of one row is one too."""
    import numpy as np

    try:
        array = np.load(path, allow_pickle=False) if path.suffix == ".npy" else _numbers(path)
        array = np.atleast_1d(np.squeeze(np.asarray(array, dtype=np.float64)))
    except (ValueError, EOFError, msgspec.MsgspecError):  # the last is no ValueError in older versions
        raise click.UsageError(f"{path} is neither an array of numbers (.npy) nor a list of numbers (.json)") from None
    if array.ndim != 1:
        raise click.UsageError(f"{path} has {len(array)} vectors, and one is needed")
    return array


def _numbers(path: Path) -> list[float]:
    return msgspec.json.decode(path.read_bytes(), type=list[float])
