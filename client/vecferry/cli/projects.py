"""`projects`, `create`, `share`, `unshare`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from vecferry.cli.group import commands
from vecferry.cli.output import show, table
from vecferry.cli.parameters import PROJECT, TEXT, common, connected
from vecferry.errors import NotFound

if TYPE_CHECKING:
    from vecferry.structs import Role


@commands.command(epilog="\b\nExample: vecferry projects")
@click.argument("user", required=False, type=TEXT)
@common
def projects(user: str | None, profile: str, as_json: bool) -> None:
    """Show the projects of a user, and those shared with them.

    Without USER those of whose key it is; the admin must name one.
    """
    with connected(profile) as client:
        user = user or client.whoami().user_handle
        if user is None:
            raise click.UsageError("The admin has no projects: give a user, `vecferry projects USER`")
        found = list(client.projects.list(user))
    if as_json:
        show(found)
        return
    rows = [
        (
            f"{one.owner}/{one.project_handle}",
            one.role,
            f"{one.number_of_embeddings or 0:,}",
            "yes" if one.public_read else "no",
        )
        for one in found
    ]
    table(("PROJECT", "ROLE", "EMBEDDINGS", "PUBLIC"), rows, numbers=[2])


@commands.command(epilog="\b\nExample: vecferry create alice/poems --instance alice/house")
@click.argument("project", type=PROJECT)
@click.option("--instance", required=True, type=PROJECT, metavar="USER/INSTANCE", help="The instance of its vectors.")
@common
def create(project: str, instance: str, profile: str, as_json: bool) -> None:
    """Make an empty project. One that exists is left as it is."""
    with connected(profile) as client:
        try:
            client.project(project).get()
        except NotFound:
            made = client.projects.put(project, instance=instance).get()
        else:
            raise click.ClickException(f"There is a project {project} already.")
    if as_json:
        show(made)
    else:
        click.echo(f"{project} is made.")


@commands.command(epilog="\b\nExample: vecferry share alice/poems bob --role reader")
@click.argument("project", type=PROJECT)
@click.argument("user", metavar="WITH", type=TEXT)
@click.option("--role", required=True, type=click.Choice(["reader", "editor"]), help="Editors upload and delete too.")
@common
def share(project: str, user: str, role: Role, profile: str, as_json: bool) -> None:
    """Let the user WITH read and search a project, or edit it."""
    with connected(profile) as client:
        client.project(project).share(user, role)
    if as_json:
        show({"project": project, "user": user, "role": role})
    else:
        click.echo(f"{user} is {'an' if role == 'editor' else 'a'} {role} of {project}.")


@commands.command(epilog="\b\nExample: vecferry unshare alice/poems bob")
@click.argument("project", type=PROJECT)
@click.argument("user", metavar="WITH", type=TEXT)
@common
def unshare(project: str, user: str, profile: str, as_json: bool) -> None:
    """End the sharing of a project with the user WITH."""
    with connected(profile) as client:
        client.project(project).unshare(user)
    if as_json:
        show({"project": project, "user": user, "role": None})
    else:
        click.echo(f"{project} is not shared with {user} any more.")
