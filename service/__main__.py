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


@click.group(context_settings={"help_option_names": ["-h", "--help"]}, commands=[serve, index, migrate, keys, routes])
@click.version_option(__version__)
def main() -> None:
    """Embedding registry and similarity search. Settings come from the environment, then from .env."""
    logs.configure()
    # The kernel ignores SIGTERM for process 1 of a container unless there is a handler. sys.exit stops the embedded
    # PostgreSQL. Not 0: a Job that is evicted has not migrated, and `keys status` has not found that all is done.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    if signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:  # the terminal was closed; nohup ignores that
        signal.signal(signal.SIGHUP, lambda *_: signal.raise_signal(signal.SIGTERM))


if __name__ == "__main__":
    main()
