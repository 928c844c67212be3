"""The common parts of commands: options, kinds of arguments, the client, and questions."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

import click
import msgspec

from vecferry import profiles
from vecferry.names import owner_and_handle

if TYPE_CHECKING:
    from vecferry import Client

Command = TypeVar("Command", bound=Callable[..., Any])
RETRIES = 2  # of a user who waits
RETRIES_OF_FILES = 6  # of operations that may take hours


class _Text(click.ParamType):  # type: ignore[type-arg]  # older ones have none
    name = "text"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        try:
            str(value).encode()
        except UnicodeEncodeError:
            self.fail("It is not UTF-8.", param, ctx)
        return str(value)


class _Project(_Text):
    name = "user/project"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        try:
            return "/".join(owner_and_handle(super().convert(value, param, ctx)))
        except ValueError as error:
            return self.fail(str(error), param, ctx)


class _JsonObject(click.ParamType):  # type: ignore[type-arg]  # older ones have none
    name = "json"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> dict[str, Any]:
        try:
            return msgspec.json.decode(str(value), type=dict[str, Any])
        except (msgspec.DecodeError, UnicodeEncodeError) as error:
            self.fail(f'It is not a JSON object such as \'{{"author": "Blake"}}\': {error}.', param, ctx)


TEXT = _Text()
PROJECT = _Project()
JSON_OBJECT = _JsonObject()

profile_option = click.option(
    "--profile",
    default="default",
    show_default=True,
    envvar="VECFERRY_PROFILE",
    type=TEXT,
    metavar="NAME",
    help="The profile that `login` made.",
)
json_option = click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
yes_option = click.option("--yes", "-y", is_flag=True, help="Delete without a question.")


def common(command: Command) -> Command:
    """The options of every command that asks the service."""
    return profile_option(json_option(command))


@contextmanager
def connected(profile: str, *, retries: int = RETRIES) -> Iterator[Client]:
    """A client of the service that the environment or the profile names."""
    with client_of(profiles.access(profile), retries=retries) as client:
        yield client


def client_of(access: profiles.Access, *, retries: int = RETRIES) -> Client:
    """A client of this service."""
    from vecferry import Client

    try:
        profiles.check_url(access.url)
        return Client(access.url, access.key, retries=retries)
    except ValueError as error:
        raise click.UsageError(f"The URL or the key cannot be used: {error}") from None


def require_terminal(yes: bool) -> None:
    """Raises UsageError for a command that needs confirmation, without a terminal."""
    if not yes and not sys.stdin.isatty():
        raise click.UsageError("Confirmation needs a terminal: give --yes to delete, or --dry-run for a preview")


def is_agreed(question: str, yes: bool) -> bool:
    """Asks, unless `yes` was given."""
    return yes or click.confirm(question, err=True)
