"""`routes`: the table of routes."""

import click
import msgspec

from service.api.routes import endpoints
from service.cli.common import as_json, show


class RouteLine(msgspec.Struct, frozen=True):
    """A route, its guard, and its handler in `service/api/`."""

    method: str
    path: str
    guard: str
    handler: str
    debug_only: bool
    successor: str | None


@click.command()
@as_json
def routes(as_json: bool) -> None:
    """Print all routes with their guards and handlers."""
    lines = [
        RouteLine(
            one.method,
            one.path,
            one.guard.__name__,
            f"{one.handler.__module__.removeprefix('service.api.')}.{one.name}",
            one.only_debug,
            one.successor,
        )
        for one in endpoints
    ]
    if as_json:
        show(lines)
        return
    path, guard = (max(len(getattr(line, name)) for line in lines) for name in ("path", "guard"))
    for line in lines:
        click.echo(f"{line.method:7}{line.path:{path + 2}}{line.guard:{guard + 2}}{line.handler}")
