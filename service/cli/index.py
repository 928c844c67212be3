"""`index`: builds the projects' vector indexes, as a process of its own."""

import asyncio
import contextlib
import signal

import click
import psycopg

from service.cli.common import as_json, clear_errors, database, load_settings, show
from service.database.session import check
from service.observability.logs import logger
from service.probe import BEAT_SECONDS, Signs
from service.settings import IndexAims
from service.storage import indexer


@click.command()
@click.option("--once", is_flag=True, help="Do what there is to do now, and end.")
@as_json
def index(once: bool, as_json: bool) -> None:
    """Build the vector indexes of projects, and make their maps, until SIGTERM or SIGINT.

    For a service with SERVICE_INDEXER=off. Any number may run: one works on a project at a time.
    """
    config = load_settings()
    with clear_errors(), contextlib.suppress(KeyboardInterrupt), database(config) as url:
        with contextlib.suppress(psycopg.OperationalError):  # one that is away is waited for
            check(url)
        if not once:
            with contextlib.suppress(asyncio.CancelledError):
                asyncio.run(_run(url, config.index_aims))
            return
        built = asyncio.run(indexer.run_once(url, config.index_aims))
    if as_json:
        show({"built": built})
        return
    for one in built:
        click.echo(f"Built the index of project {one.project_id}: {one.indexed_rows:,} rows.")


async def _run(url: str, aims: IndexAims) -> None:
    """Runs the indexer, and beside it writes its signs for the probe."""
    signs = Signs()
    task = asyncio.current_task()
    if task is not None:  # an exception that a signal raises anywhere may be lost in somebody's callback
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    beating = asyncio.create_task(_beat(signs))
    try:
        await indexer.run(url, aims, signs)
    finally:
        beating.cancel()
        with contextlib.suppress(OSError):
            signs.file.unlink()


async def _beat(signs: Signs) -> None:
    try:
        while True:
            signs.write()
            await asyncio.sleep(BEAT_SECONDS)
    except OSError as error:
        logger.warning("The probe's file cannot be written, so the probe will report a failure.", what=str(error))
