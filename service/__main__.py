"""The command line: `embedding-service serve`, `migrate`, …; no business code."""

import contextlib
import logging
import signal
import sys
from collections.abc import Iterator

import click
import msgspec
import psycopg
import uvicorn

from service import __version__, app, embedded, logs, migrate, settings
from service.settings import Settings

EXIT_PENDING = 3


def _say(text: str) -> None:
    click.echo(text, err=True)


@contextlib.contextmanager
def _database(config: Settings) -> Iterator[str]:
    """Yields the URL of the database, and starts and stops the embedded one where none is named."""
    if config.named_database_url is not None:
        yield config.named_database_url
        return
    _say(f"No database is named: the embedded PostgreSQL serves, with its data in {config.service_data_dir}.")
    with embedded.running(config.service_data_dir) as url:
        yield url


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__)
def main() -> None:
    """Keeps embeddings, and answers what is similar. Settings: the environment, and .env where that is silent."""
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s: %(message)s")
    logging.getLogger("yoyo").setLevel(logging.WARNING)


@main.command()
@click.option("--workers", type=click.IntRange(1), default=1, show_default=True, help="Processes that serve.")
def serve(workers: int) -> None:
    """Migrate the database and serve HTTP until SIGTERM or SIGINT."""
    config = _settings()
    # uvicorn raises the signal once more when it has shut down; the embedded PostgreSQL is to be stopped then.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    with _clear_errors(), contextlib.suppress(KeyboardInterrupt), _database(config) as url:
        for name in migrate.upgrade(url):
            _say(f"Applied migration {name}.")
        uvicorn.run(
            app.create_app(config) if workers == 1 else "service.app:from_environment",
            factory=workers > 1,
            workers=workers,
            host=config.service_host,
            port=config.service_port,
            loop="uvloop",
            http="httptools",
            log_config=logs.config(),
            log_level="debug" if config.service_debug else "info",
            server_header=False,
            timeout_graceful_shutdown=30,
        )


@main.command("migrate")
@click.option("--to", "target", metavar="NUMBER", help="Take back all migrations after this one; 0000 takes all back.")
@click.option(
    "--status", "only_status", is_flag=True, help="Change nothing; say what is applied (exit 3: some are not)."
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def migrate_command(target: str | None, only_status: bool, as_json: bool) -> None:
    """Bring the database to the schema of this version, or back to an older one."""
    config = _settings()
    with _clear_errors(), _database(config) as url:
        done: list[str] = []
        if target is not None and not only_status:
            done = migrate.downgrade(url, target)
        elif not only_status:
            done = migrate.upgrade(url)
        status = migrate.status(url)
    if as_json:
        click.echo(msgspec.json.encode({"changed": done, "migrations": status}).decode())
    else:
        for name in done:
            click.echo(f"{'Took back' if target else 'Applied'} {name}.")
        for one in status:
            click.echo(f"{'applied' if one.applied else 'pending':8} {one.name}")
    if only_status and not all(one.applied for one in status):
        sys.exit(EXIT_PENDING)


def _settings() -> Settings:
    try:
        return settings.load()
    except settings.SettingsError as error:
        raise click.ClickException(str(error)) from None


@contextlib.contextmanager
def _clear_errors() -> Iterator[None]:
    """What can go wrong with a database, as one line and exit code 1 instead of a traceback."""
    try:
        yield
    except (migrate.UnsupportedServer, embedded.EmbeddedPostgresError, ValueError) as error:
        raise click.ClickException(str(error)) from None
    except psycopg.Error as error:
        raise click.ClickException(f"The database: {str(error).strip()}") from None


if __name__ == "__main__":
    main()
