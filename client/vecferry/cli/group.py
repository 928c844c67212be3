"""The group of all commands: the result of a command as an exit code and a message."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Sequence
from typing import Any, NoReturn

import click
import msgspec

from vecferry import __version__
from vecferry.cli.output import clean
from vecferry.errors import (
    BadAnswer,
    BadGateway,
    ConnectionFailed,
    Forbidden,
    GatewayTimeout,
    NotFound,
    RequestTimeout,
    ServiceError,
    Unauthorized,
    Unavailable,
    VecferryError,
)
from vecferry.profiles import LOG_IN, ProfileError

DONE, REFUSED, USAGE, NOT_ALLOWED, NOT_FOUND, AWAY, INTERRUPTED = 0, 1, 2, 3, 4, 5, 130

_CODES: dict[type[VecferryError], int] = {
    Unauthorized: NOT_ALLOWED,
    Forbidden: NOT_ALLOWED,
    ProfileError: NOT_ALLOWED,
    NotFound: NOT_FOUND,
    ConnectionFailed: AWAY,
    BadAnswer: AWAY,
    RequestTimeout: AWAY,
    BadGateway: AWAY,
    Unavailable: AWAY,
    GatewayTimeout: AWAY,
}


class Commands(click.Group):
    """A group whose errors are one sentence on stderr, or with `--json` an object."""

    def main(
        self,
        args: Sequence[str] | None = None,
        prog_name: str | None = None,
        complete_var: str | None = None,
        standalone_mode: bool = True,
        **extra: Any,
    ) -> NoReturn:
        """Runs a command, and exits."""
        arguments = list(sys.argv[1:] if args is None else args)
        as_json = "--json" in arguments[: arguments.index("--") if "--" in arguments else None]
        if hasattr(sys.stdout, "reconfigure"):  # a terminal without some letters
            sys.stdout.reconfigure(errors="replace")
        try:
            code = super().main(arguments, prog_name or "vecferry", complete_var, standalone_mode=False, **extra)
        except click.UsageError as error:
            command = "vecferry" if error.ctx is None else error.ctx.command_path
            sentence = error.format_message().strip().rstrip(".")
            code = _say(f"{sentence}. See `{command} --help`.", USAGE, as_json)
        except click.ClickException as error:
            code = _say(error.format_message(), REFUSED, as_json)
        except click.Abort:
            code = _say("Interrupted.", INTERRUPTED, as_json)
        except VecferryError as error:
            code = _say(_sentence(error), _code(error), as_json, error)
        except OSError as error:
            _print_no_more()
            where = f"{error.filename}: " if error.filename else ""
            code = _say(f"{where}{error.strerror or error}.", REFUSED, as_json)
        sys.exit(code or DONE)

    def invoke(self, ctx: click.Context) -> Any:
        """Runs a command, until Ctrl-C or until its output is closed."""
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            if sys.stderr.isatty():  # behind ^C
                click.echo(err=True)
            raise click.Abort from None
        except BrokenPipeError:  # as by `| head`: no error
            _print_no_more()
            return DONE


def _print_no_more() -> None:
    """Without this Python writes once more at its end, and fails."""
    with contextlib.suppress(OSError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _code(error: VecferryError) -> int:
    return next((code for kind, code in _CODES.items() if isinstance(error, kind)), REFUSED)


def _sentence(error: VecferryError) -> str:
    text = str(error).rstrip(".")
    if isinstance(error, Unauthorized):
        return f"{text}. {LOG_IN}."
    return f"{text}."


def _say(sentence: str, code: int, as_json: bool, error: VecferryError | None = None) -> int:
    sentence = clean(sentence)  # which may have the name of a file, of any bytes
    if not as_json:
        click.echo(sentence, err=True)
        return code
    told: dict[str, Any] = {"message": sentence, "exit_code": code}
    if isinstance(error, ServiceError):
        told |= {"status": error.status, "request_id": error.request_id, "problems": error.problem.problems}
    click.echo(msgspec.json.encode({"error": told}), err=True)
    return code


@click.group(
    cls=Commands,
    invoke_without_command=True,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="""
\b
Exit codes:
  0    done
  1    the service refused it, some rows were bad, or a file cannot be used
  2    the command was not understood
  3    not allowed, or not logged in
  4    not found
  5    no connection, or the service is unavailable
  130  interrupted

\b
The environment wins over what `login` keeps:
  VECFERRY_URL, VECFERRY_KEY  the service, and the key
  VECFERRY_PROFILE            the profile, where --profile is not given
""",
)
@click.version_option(__version__, prog_name="vecferry")
@click.pass_context
def commands(ctx: click.Context) -> None:
    """Upload, download and search embeddings that a service stores.

    \b
    Begin with:
      vecferry login https://vectors.example.org
      vecferry push poems.parquet alice/poems
      vecferry search alice/poems "a flower with thorns"
    """
    if ctx.invoked_subcommand is None:
        click.echo(ctx.get_help())
