"""`index`: builds the vector indexes of projects in a separate process."""

import asyncio
import contextlib
import signal

import click
import psycopg

from service.cli.common import as_json, database, load_settings, run, show
from service.database.session import check
from service.observability.logs import logger
from service.probe import BEAT_SECONDS, Signs
from service.settings import IndexAims
from service.storage import indexer
from service.turns import beside


@click.command()
@click.option("--once", is_flag=True, help="Do the pending work, then exit.")
@as_json
def index(once: bool, as_json: bool) -> None:
    """Build the vector indexes and maps of projects until SIGTERM or SIGINT.

    For a service with SERVICE_INDEXER=off. Several may run: only one works on a project at a time.
    """
    config = load_settings()
    with contextlib.suppress(KeyboardInterrupt), database(config) as url:
        with contextlib.suppress(psycopg.OperationalError):  # an unavailable database is waited for
            check(url)
        if not once:
            with contextlib.suppress(asyncio.CancelledError):
                asyncio.run(_run(url, config.index_aims))
            return
        built = run(indexer.run_once(url, config.index_aims))
    if as_json:
        show({"built": built})
        return
    for one in built:
        click.echo(f"Built the index of project {one.project_id}: {one.indexed_rows:,} rows.")


async def _run(url: str, aims: IndexAims) -> None:
    """Runs the indexer, and writes its state for the probe."""
    signs = Signs()
    task = asyncio.current_task()
    if task is not None:  # an exception raised by the signal handler could be lost in a callback
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    try:
        async with beside(_beat(signs)):
            await indexer.run(url, aims, signs)
    finally:
        with contextlib.suppress(OSError):
            signs.file.unlink()


async def _beat(signs: Signs) -> None:
    try:
        while True:
            signs.write()
            await asyncio.sleep(BEAT_SECONDS)
    except OSError as error:
        logger.warning("The probe's file cannot be written, so the probe will report a failure.", error=str(error))
