"""`completion`: how a shell completes the commands."""

import click
from click.shell_completion import get_completion_class

from vecferry.cli.group import commands


@commands.command(epilog="\b\nExample: vecferry completion bash >> ~/.bashrc")
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
@click.pass_context
def completion(ctx: click.Context, shell: str, as_json: bool) -> None:
    """Print the script that completes commands in a shell.

    It belongs into the file that the shell reads when it starts.
    """
    from vecferry.cli.output import show

    kind = get_completion_class(shell)
    assert kind is not None  # click knows these three  # noqa: S101
    script = kind(ctx.find_root().command, {}, "vecferry", "_VECFERRY_COMPLETE").source()
    if as_json:
        show({"shell": shell, "script": script})
    else:
        click.echo(script)
