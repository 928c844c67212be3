"""`migrate`: brings the database to the schema of this version, or back, and takes over one of the original system."""

import click

from service.cli.common import (
    EXIT_PENDING,
    as_json,
    clear_errors,
    database,
    finish,
    load_settings,
    say,
    show,
    show_left_over,
)
from service.schema import migrate as migrations


@click.command()
@click.option("--to", "target", metavar="NUMBER", help="Take back all migrations after this one; 0000 takes all back.")
@click.option("--discard", is_flag=True, help="With --to: let go of what the older schema has no place for.")
@click.option(
    "--status", "only_status", is_flag=True, help="Change nothing; say what is applied (exit 3: some are not)."
)
@click.option("--dry-run", is_flag=True, help="Change nothing; say what would be done (exit 3: something).")
@as_json
def migrate(target: str | None, discard: bool, only_status: bool, dry_run: bool, as_json: bool) -> None:
    """Bring the database to the schema of this version, or back to an older one.

    A database of dhamps-vdb at version 3 or 4 is taken over: back it up and look at --dry-run first.
    """
    config = load_settings()
    with clear_errors(), database(config) as url:
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
        for one in status:
            click.echo(f"{'applied' if one.applied else 'pending':8} {one.name}")
    finish(0 if all(one.applied for one in status) else EXIT_PENDING)


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
            click.echo(f"would not be carried: {one.rows:,} embeddings of {one.project}: {one.reason}")
    finish(EXIT_PENDING if plan.migrations or plan.contents["embeddings_to_carry"] else 0)


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
        click.echo(f"{'Took back' if target else 'Applied'} {name}.")
    for one in status:
        click.echo(f"{'applied' if one.applied else 'pending':8} {one.name}")
    show_left_over(left)
