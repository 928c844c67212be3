"""The command line: `embedding-service serve`, `migrate`, `keys`, …; no business code."""

import signal
import sys

import click

from service import __version__
from service.cli.index import index
from service.cli.keys import keys
from service.cli.migrate import migrate
from service.cli.routes import routes
from service.cli.serve import serve
from service.observability import logs


@click.group(
    context_settings={"help_option_names": ["-h", "--help"]},
    commands=[serve, index, migrate, keys, routes],
)
@click.version_option(__version__)
def main() -> None:
    """Keeps embeddings, and answers what is similar. Settings: the environment, and .env where that is silent."""
    logs.configure()
    # Without this a command that is process 1 of a container would not notice. uvicorn raises the signal once more when
    # it has shut down; the embedded PostgreSQL is to be stopped then.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))


if __name__ == "__main__":
    main()
