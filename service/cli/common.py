"""The commands of the command line, one module each, and the common parts: settings, database, exit codes, errors."""

import contextlib
import sys
from collections.abc import Iterator
from typing import Any

import asyncpg
import click
import msgspec
import psycopg

from service import settings
from service.database import embedded
from service.database.session import UnsupportedDatabase
from service.database.url import parse
from service.observability import logs
from service.provider_keys.rotation import WrongKey
from service.schema import backfill
from service.schema.migrate import Refused
from service.schema.takeover import CannotTakeOver
from service.settings import Settings

EXIT_PENDING = 3  # there is something left to do
EXIT_NOT_OPENING = 4  # some provider keys do not open

as_json = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


def say(text: str) -> None:
    """Prints to standard error, which leaves standard output to the result."""
    click.echo(text, err=True)


def show(result: object) -> None:
    """Prints a result as JSON."""
    click.echo(msgspec.json.format(msgspec.json.encode(result), indent=2).decode())


def load_settings() -> Settings:
    """The settings, or exit code 1 and their problems."""
    try:
        config = settings.load()
    except settings.SettingsError as error:
        raise click.ClickException(str(error)) from None
    logs.configure(config.service_log_format, debug=config.service_debug)
    return config


@contextlib.contextmanager
def database(config: Settings) -> Iterator[str]:
    """Yields the URL of the database, and starts and stops the embedded one where none is named."""
    if config.service_database_read_url is not None:
        parse(config.service_database_read_url)
    if config.named_database_url is not None:
        parse(config.named_database_url)
        yield config.named_database_url
        return
    say(f"No database is named: the embedded PostgreSQL serves, with its data in {config.service_data_dir}.")
    with embedded.running(config.service_data_dir) as url:
        yield url


@contextlib.contextmanager
def clear_errors() -> Iterator[None]:
    """What can go wrong with a database, as one line and exit code 1 instead of a traceback."""
    try:
        yield
    except (
        UnsupportedDatabase,
        Refused,
        CannotTakeOver,
        WrongKey,
        embedded.EmbeddedPostgresError,
        ValueError,
    ) as error:
        raise click.ClickException(str(error)) from None
    except (psycopg.Error, asyncpg.PostgresError, OSError) as error:
        raise click.ClickException(f"The database: {str(error).strip()}") from None


def show_left_over(left: list[backfill.LeftOver]) -> None:
    """Says which embeddings of the original system have no place here."""
    for one in left:
        say(f"Not carried: {one.rows:,} embeddings of {one.project}: {one.reason}.")
    if left:
        say("They stay in the table embeddings_unmigrated; docs/MIGRATION.md says what can be done with them.")


def finish(code: int) -> Any:
    """Ends the process when the exit code is not 0."""
    if code:
        sys.exit(code)
