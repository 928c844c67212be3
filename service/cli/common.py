"""Common parts of the commands: settings, database, exit codes, errors."""

import asyncio
import contextlib
import signal
from collections.abc import Coroutine, Iterator
from typing import Any, TypeVar

import asyncpg
import click
import msgspec
import psycopg

from service import settings
from service.database import embedded
from service.database.errors import NOT_MIGRATED
from service.database.session import UnsupportedDatabase
from service.database.url import parse
from service.observability import logs
from service.observability.logs import logger
from service.provider_keys.rotation import WrongKey
from service.schema import backfill
from service.schema.migrate import Refused
from service.schema.takeover import CannotTakeOver
from service.settings import Settings

R = TypeVar("R")

EXIT_PENDING = 3  # work is left to do
EXIT_NOT_OPENING = 4  # some provider keys cannot be decrypted
LOG_FORMAT = "service.log_format"  # in click's context

_REFUSALS = (UnsupportedDatabase, Refused, CannotTakeOver, WrongKey, embedded.EmbeddedPostgresError)

as_json = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


def say(text: str, *, is_warning: bool = False) -> None:
    """Prints to standard error, as a line of the log with SERVICE_LOG_FORMAT=json; standard output is for results."""
    if click.get_current_context().meta.get(LOG_FORMAT) == "json":  # or programs that read it would lose the line
        (logger.warning if is_warning else logger.info)(text)
    else:
        click.echo(f"WARNING: {text}" if is_warning else text, err=True)


def show(result: object) -> None:
    """Prints a result as JSON."""
    click.echo(msgspec.json.format(msgspec.json.encode(result), indent=2).decode())


def load_settings() -> Settings:
    """Loads the settings, or exits with code 1 and the problem."""
    try:
        config = settings.load()
    except settings.SettingsError as error:
        raise click.ClickException(str(error)) from None
    logs.configure(config.service_log_format, debug=config.service_debug)
    click.get_current_context().meta[LOG_FORMAT] = config.service_log_format
    return config


@contextlib.contextmanager
def database(config: Settings) -> Iterator[str]:
    """Yields the URL of the database; runs the embedded PostgreSQL during the block if none is configured.

    Reports errors of the block in one line with exit code 1, without a traceback.
    """
    try:
        if config.service_database_read_url is not None:
            parse(config.service_database_read_url)
        if config.named_database_url is not None:
            yield config.named_database_url
            return
        say(f"No database is configured: using the embedded PostgreSQL with its data in {config.service_data_dir}.")
        with embedded.running(config.service_data_dir) as url:
            yield url
    except (*_REFUSALS, ValueError) as error:
        raise click.ClickException(str(error)) from None
    except NOT_MIGRATED as error:
        problem = f"The database does not have the schema of this version: run `migrate` ({error})."
        raise click.ClickException(problem) from None
    except (psycopg.Error, asyncpg.PostgresError, OSError) as error:
        raise click.ClickException(f"The database: {str(error).strip()}") from None


def run(work: Coroutine[Any, Any, R]) -> R:
    """`asyncio.run`, whose event loop calls the handler of SIGTERM between two steps of the work.

    asyncpg drops what a handler raises while it sends a query, and waits for the answer.
    """
    handler = signal.getsignal(signal.SIGTERM)

    async def interruptible() -> R:
        if callable(handler):
            asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, handler, signal.SIGTERM, None)
        return await work

    try:
        return asyncio.run(interruptible())
    finally:
        signal.signal(signal.SIGTERM, handler)  # the loop has left the default one


def show_left_over(left: list[backfill.LeftOver]) -> None:
    """Reports the embeddings of the original system that could not be migrated."""
    for one in left:
        say(f"Not migrated: {one.rows:,} embeddings of {one.project}: {one.reason}.")
    if left:
        say("They stay in the table embeddings_unmigrated; see docs/MIGRATION.md.")
