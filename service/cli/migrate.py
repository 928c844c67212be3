"""`migrate`: migrates the database to this version or an older one, and takes over an original database."""

import sys

import click

from service.cli.common import EXIT_PENDING, as_json, database, load_settings, say, show, show_left_over
from service.schema import migrate as migrations


@click.command()
@click.option("--to", "target", metavar="NUMBER", help="Roll back all migrations after this one; 0000 rolls back all.")
@click.option("--discard", is_flag=True, help="With --to: drop the data that the older schema cannot hold.")
@click.option("--status", "only_status", is_flag=True, help="Only list the migrations (exit 3: some are pending).")
@click.option("--dry-run", is_flag=True, help="Only show what would be done (exit 3: there is something to do).")
@as_json
def migrate(target: str | None, discard: bool, only_status: bool, dry_run: bool, as_json: bool) -> None:
    """Migrate the database to the schema of this version, or back to an older one.

    A database of dhamps-vdb at version 3 or 4 is taken over: back it up and check --dry-run first.
    """
    if target is not None and (only_status or dry_run):  # they would show an upgrade instead of the rollback
        raise click.UsageError("--status and --dry-run cannot be used with --to.")
    if discard and target is None:
        raise click.UsageError("--discard can only be used with --to.")
    config = load_settings()
    with database(config) as url:
        if only_status:
            _status(url, as_json)
        elif dry_run:
            _dry_run(url, as_json)
        else:
            _migrate(url, target, discard, as_json)


def _status(url: str, as_json: bool) -> None:
    status = migrations.status(url)
    if as_json:
        show({"migrations": status})
    else:
        _list(status)
    sys.exit(0 if all(one.applied for one in status) else EXIT_PENDING)


def _dry_run(url: str, as_json: bool) -> None:
    plan = migrations.plan(url)
    if as_json:
        show(plan)
    else:
        if plan.takes_over:
            click.echo(f"This is a database of dhamps-vdb, version {plan.takes_over}; it would be taken over.")
        for name in plan.migrations:
            click.echo(f"would apply {name}")
        for name, count in plan.contents.items():
            click.echo(f"{name.replace('_', ' ')}: {count:,}")
        for one in plan.left_over:
            click.echo(f"would not be migrated: {one.rows:,} embeddings of {one.project}: {one.reason}")
    sys.exit(EXIT_PENDING if plan.migrations or plan.contents["embeddings_to_migrate"] else 0)


def _migrate(url: str, target: str | None, discard: bool, as_json: bool) -> None:
    if target is None:
        done = migrations.upgrade(url, take_over=True, again=True, say=say)
        left = migrations.left_over(url)
    else:
        done = migrations.downgrade(url, target, discard=discard, say=say)
        left = []
    status = migrations.status(url)
    if as_json:
        show({"changed": done, "migrations": status, "left_over": left})
        return
    for name in done:
        click.echo(f"{'Rolled back' if target else 'Applied'} {name}.")
    _list(status)
    show_left_over(left)


def _list(status: list[migrations.Migration]) -> None:
    for one in status:
        click.echo(f"{'applied' if one.applied else 'pending':8} {one.name}")
