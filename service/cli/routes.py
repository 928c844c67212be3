"""`routes`: the table of routes."""

from typing import Any

import click

from service.api.routes import endpoints
from service.cli.common import as_json, show


@click.command()
@as_json
def routes(as_json: bool) -> None:
    """Print all routes with their guards and handlers."""
    lines: list[dict[str, Any]] = [
        {
            "method": one.method,
            "path": one.path,
            "guard": one.guard.__name__,
            "handler": f"{one.handler.__module__.removeprefix('service.api.')}.{one.name}",
            "debug_only": one.only_debug,
            "successor": one.successor,
        }
        for one in endpoints
    ]
    if as_json:
        show(lines)
        return
    path, guard = (max(len(line[name]) for line in lines) for name in ("path", "guard"))
    for line in lines:
        click.echo(f"{line['method']:7}{line['path']:{path + 2}}{line['guard']:{guard + 2}}{line['handler']}")
