"""The command line: `embedding-service serve`, `migrate`, `keys`, …; no business code."""

import click

from service import __version__, logs
from service.commands.index import index
from service.commands.keys import keys
from service.commands.migrate import migrate
from service.commands.serve import serve


@click.group(
    context_settings={"help_option_names": ["-h", "--help"]},
    commands=[serve, index, migrate, keys],
)
@click.version_option(__version__)
def main() -> None:
    """Keeps embeddings, and answers what is similar. Settings: the environment, and .env where that is silent."""
    logs.configure()


if __name__ == "__main__":
    main()
