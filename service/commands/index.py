"""`index`: builds the projects' vector indexes, as a process of its own."""

import asyncio
import contextlib

import click

from service import indexer
from service.commands import as_json, clear_errors, database, load_settings, show


@click.command()
@click.option("--once", is_flag=True, help="Do what there is to do now, and end.")
@as_json
def index(once: bool, as_json: bool) -> None:
    """Build the vector indexes of projects, until SIGTERM or SIGINT.

    For a service with SERVICE_INDEXER=off. Any number may run: one works on a project at a time.
    """
    config = load_settings()
    with clear_errors(), contextlib.suppress(KeyboardInterrupt), database(config) as url:
        if not once:
            asyncio.run(indexer.run(url, config.index_aims))
            return
        built = asyncio.run(indexer.run_once(url, config.index_aims))
    if as_json:
        show({"built": built})
        return
    for one in built:
        click.echo(f"Built the index of project {one.project_id}: {one.indexed_rows:,} rows.")
