"""`push`, `pull`, `sync`: files and projects."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from vecferry.cli.group import REFUSED, commands
from vecferry.cli.output import clean, counted, show
from vecferry.cli.parameters import (
    PROJECT,
    RETRIES_OF_FILES,
    TEXT,
    common,
    connected,
    is_agreed,
    require_terminal,
    yes_option,
)
from vecferry.names import owner_and_handle

if TYPE_CHECKING:
    from vecferry import Columns, PushResult
    from vecferry.synchronous import Project

SUFFIXES = (".parquet", ".jsonl", ".ndjson", ".npz", ".npy", ".arrow", ".feather")
BAD_SHOWN = 10
NOTABLE_LOSS = 1e-3

dry_run_option = click.option("--dry-run", is_flag=True, help="Show what would change, without changing it.")


@commands.command(epilog="\b\nExample: vecferry push poems.parquet alice/poems --vector-column embedding")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.argument("project", metavar="USER/PROJECT", type=PROJECT)
@dry_run_option
@click.option("--delete", is_flag=True, help="Delete from the project what the file does not have.")
@yes_option
@click.option("--id-column", type=TEXT, metavar="NAME", help="The column or key of the ids.")
@click.option("--vector-column", type=TEXT, metavar="NAME", help="The column or key of the vectors.")
@click.option("--text-column", type=TEXT, metavar="NAME", help="The column or key of the texts.")
@click.option(
    "--metadata-column",
    "metadata_columns",
    type=TEXT,
    metavar="NAME",
    multiple=True,
    help="A column that goes into the metadata, under its name; may be given several times.",
)
@click.option("--metadata", type=TEXT, metavar="NAME", help="The column of the metadata: objects, or JSON.")
@click.option(
    "--ids",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="The ids of a .npy: one a line in .txt, a list in .json, or a .npy.",
)
@common
def push(
    file: Path,
    project: str,
    dry_run: bool,
    delete: bool,
    yes: bool,
    id_column: str | None,
    vector_column: str | None,
    text_column: str | None,
    metadata_columns: tuple[str, ...],
    metadata: str | None,
    ids: Path | None,
    profile: str,
    as_json: bool,
) -> int:
    """Store the embeddings of FILE in a project. Stored rows are not sent again.

    FILE is .parquet, .arrow, .feather, .npz, .npy (with --ids), .jsonl or .ndjson, the last two also with .gz or .zst.
    """
    if metadata is not None and metadata_columns:
        raise click.UsageError("Give --metadata, for objects, or --metadata-column, for single values, but not both")
    columns = _columns(id_column, vector_column, text_column, metadata_columns or metadata)
    return _push(file, project, profile, as_json, dry_run, delete, yes, {"ids": ids, "columns": columns})


@commands.command(epilog="\b\nExample: vecferry pull alice/poems poems.parquet")
@click.argument("project", metavar="USER/PROJECT", type=PROJECT)
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
@click.option("--since", is_flag=True, help="Fetch only what has changed since FILE was pulled.")
@common
def pull(project: str, file: Path, since: bool, profile: str, as_json: bool) -> None:
    """Write all embeddings of a project to FILE.

    FILE is .parquet, .arrow, .npz, or .jsonl, the last one also with .gz or .zst. It is there when it is complete.
    """
    _pull(project, file, since, profile, as_json)


@commands.command(epilog="\b\nExample: vecferry sync poems.parquet alice/poems --dry-run")
@click.argument("source", metavar="A", type=TEXT)
@click.argument("destination", metavar="B", type=TEXT)
@dry_run_option
@yes_option
@common
def sync(source: str, destination: str, dry_run: bool, yes: bool, profile: str, as_json: bool) -> int:
    """Make B equal to A. One of them is a file, and the other USER/PROJECT.

    What only B has is deleted from it. The file is what ends as files of embeddings do (.parquet, .jsonl, …), or begins
    with ./ or /.
    """
    if is_file(source) == is_file(destination):
        what = "both are files" if is_file(source) else "neither is a file: one begins with ./ or ends like .parquet"
        raise click.UsageError(f"One side is a file, the other USER/PROJECT; here {what}")
    project = destination if is_file(source) else source
    try:
        owner_and_handle(project)
    except ValueError as error:
        raise click.UsageError(str(error)) from None
    if not is_file(source):
        return _sync_to_file(project, Path(destination), profile, as_json, dry_run, yes)
    file = Path(source)
    if not file.is_file():
        raise click.UsageError(f"There is no file {source}")
    return _push(file, project, profile, as_json, dry_run, True, yes, {})


def is_file(side: str) -> bool:
    """Whether this side of `sync` is a file."""
    name = side.lower()
    for coding in (".gz", ".zst"):
        name = name.removesuffix(coding)
    return name.endswith(SUFFIXES) or side.startswith(("./", "../")) or Path(side).is_absolute()


def _push(
    file: Path,
    project: str,
    profile: str,
    as_json: bool,
    dry_run: bool,
    delete: bool,
    yes: bool,
    options: dict[str, Any],
) -> int:
    asks = delete and not yes and not dry_run
    require_terminal(not asks)
    agreed: int | None = None
    kept = 0

    def confirm(count: int) -> bool:
        nonlocal kept
        kept = 0 if agreed is None or count <= agreed else count
        return not kept

    with connected(profile, retries=RETRIES_OF_FILES) as handle:
        to = handle.project(project)
        if asks:
            # Asked here, where Ctrl-C ends it, and not in the middle of the transfer.
            agreed = to.push(file, **options, delete=True, dry_run=True).deleted
            if agreed and not is_agreed(f"Delete {counted(agreed)} of {project} that {file} does not have?", yes):
                raise click.ClickException("Nothing was changed.")
        result = to.push(file, **options, delete=delete, dry_run=dry_run, confirm=confirm if asks else None)
    if as_json:
        show(result)
    else:
        would = "would be " if dry_run else ""
        counts = [
            f"{result.inserted:,} {would}inserted",
            f"{result.updated:,} updated",
            f"{result.unchanged:,} unchanged",
        ]
        click.echo(", ".join([*counts, *([f"{result.deleted:,} deleted"] if delete else [])]) + ".")
        _tell_bad(result)
        if delete and result.bad_count:
            click.echo("Nothing is deleted while rows are bad: the file may have what it seems to lack.", err=True)
    if kept:
        raise click.ClickException(
            f"Nothing was deleted: now {counted(kept)} would be, more than you agreed to. Run it again."
        )
    return REFUSED if result.bad_count else 0


def _pull(project: str, file: Path, since: bool, profile: str, as_json: bool) -> None:
    with connected(profile, retries=RETRIES_OF_FILES) as client:
        result = client.project(project).pull(file, since=since)
    if as_json:
        show(result)
        return
    changes = f": {result.changed:,} new or changed, {result.deleted:,} deleted" if result.since_last else ""
    click.echo(f"{file} has {counted(result.rows)} of {project}{changes}.")


def _sync_to_file(project: str, file: Path, profile: str, as_json: bool, dry_run: bool, yes: bool) -> int:
    """Additions of the file to the project are its losses here, and vice versa."""
    if dry_run or (file.exists() and not yes):
        require_terminal(dry_run)
        with connected(profile, retries=RETRIES_OF_FILES) as client:
            added, changed, lost = _differences(client.project(project), file)
        if dry_run and as_json:
            show({"added": added, "changed": changed, "deleted": lost, "dry_run": True})
        elif dry_run:
            click.echo(f"{added:,} would be added to {file}, {changed:,} changed, {lost:,} deleted.")
        if dry_run:
            return 0
        if lost and not is_agreed(f"Delete {counted(lost)} of {file} that {project} does not have?", yes):
            raise click.ClickException("Nothing was changed.")
    _pull(project, file, True, profile, as_json)
    return 0


def _differences(project: Project, file: Path) -> tuple[int, int, int]:
    """How many embeddings a pull would add to a file, change and delete there."""
    from vecferry.rows import NoRows, OtherDimensions

    count = project.get().number_of_embeddings or 0
    if not file.exists():
        return count, 0, 0
    try:
        opposite = project.push(file, delete=True, dry_run=True)
    except NoRows:
        return count, 0, 0
    except OtherDimensions:
        raise click.ClickException(
            f"The vectors of {file} have other dimensions than those of {project}. To replace the file, use pull."
        ) from None
    added = opposite.deleted
    if opposite.bad_count:  # a push would delete nothing then
        added = max(0, count - opposite.updated - opposite.unchanged)
    return added, opposite.updated, opposite.inserted + opposite.bad_count


def _columns(
    text_id: str | None, vector: str | None, text: str | None, metadata: tuple[str, ...] | str | None
) -> Columns | None:
    if not (text_id or vector or text or metadata):
        return None
    from vecferry import Columns

    return Columns(text_id, vector, text, metadata)


def _tell_bad(result: PushResult) -> None:
    for one in result.bad[:BAD_SHOWN]:
        name = "" if one.text_id is None else f" ({one.text_id})"
        click.echo(clean(f"Row {one.place}{name} is bad: {one.reason}."), err=True)
    if result.bad_count > BAD_SHOWN:
        click.echo(f"{counted(result.bad_count, 'row')} are bad, of which the first {BAD_SHOWN} are shown.", err=True)
    if result.repeated:
        left_out = counted(result.repeated, "row")
        click.echo(f"Note: of an id that comes again the last row counts. Left out: {left_out}.", err=True)
    if result.largest_loss > NOTABLE_LOSS:
        click.echo(
            f"Note: half precision takes up to {result.largest_loss:.1%} of a vector's largest component.", err=True
        )
