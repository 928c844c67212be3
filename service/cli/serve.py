"""`serve`: migrates the database, verifies the encryption key, and serves HTTP."""

import contextlib
import signal
import sys
import tempfile
from pathlib import Path

import click
import uvicorn
from uvicorn.config import STARTUP_FAILURE
from uvicorn.supervisors import Multiprocess

from service import app, settings
from service.cli.common import database, load_settings, run, say, show_left_over
from service.database.pool import connected
from service.provider_keys import rotation
from service.provider_keys.keyring import Keyring
from service.queries import keys as statements
from service.schema import migrate
from service.server.protocol import Protocol
from service.settings import Settings


@click.command()
@click.option("--workers", type=click.IntRange(1), default=1, show_default=True, help="Number of server processes.")
def serve(workers: int) -> None:
    """Migrate the database and serve HTTP until SIGTERM or SIGINT."""
    # A server ends by a signal only, so this exit is a success. uvicorn raises the signal again after its shutdown.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    config = load_settings()
    for remark in settings.remarks(config):
        say(remark, is_warning=True)
    with contextlib.suppress(KeyboardInterrupt), database(config) as url:
        for name in migrate.upgrade(url, say=say):
            say(f"Applied migration {name}.")
        show_left_over(migrate.left_over(url))
        run(_prove_key(url, config))
        _run(config, workers)


def _run(config: Settings, workers: int) -> None:
    with tempfile.TemporaryDirectory() if workers > 1 else contextlib.nullcontext() as folder:
        if folder is not None:
            settings.share_metrics(Path(folder))
        server = uvicorn.Config(
            app.create_app(config) if workers == 1 else "service.app:from_environment",
            factory=workers > 1,
            workers=workers,
            host=config.service_host,
            port=config.service_port,
            loop="uvloop",
            http=Protocol,
            log_config=None,  # see service.observability
            access_log=False,
            server_header=False,
            forwarded_allow_ips=config.service_trusted_proxies,
            timeout_keep_alive=config.service_keepalive_seconds,
            timeout_graceful_shutdown=config.service_shutdown_seconds,
        )
        if workers == 1:
            one = uvicorn.Server(server)
            one.run()
            has_failed = not one.started
        else:
            supervisor = Multiprocess(server, [server.bind_socket()])
            supervisor.run()
            has_failed = any(process.exitcode == STARTUP_FAILURE for process in supervisor.processes)
    sys.exit(STARTUP_FAILURE if has_failed else 0)


async def _prove_key(url: str, config: Settings) -> None:
    async with connected(url) as connection:
        await rotation.prove(connection, Keyring(config.encryption_key, config.previous_keys))
        if plaintext := await statements.count_plaintext_keys(connection):
            say(f"{plaintext} provider keys are stored in plaintext. Run `keys encrypt`.", is_warning=True)
