"""`login`, `logout`, `whoami`: the key."""

from __future__ import annotations

import sys
from urllib.parse import urlsplit

import click

from vecferry import profiles
from vecferry.cli.group import commands
from vecferry.cli.output import pairs, show
from vecferry.cli.parameters import TEXT, client_of, common

ADMIN = "admin"  # no user has this handle
LOOPBACK = {"localhost", "127.0.0.1", "::1"}


@commands.command(epilog="\b\nExample: vecferry login https://vectors.example.org")
@click.argument("url", type=TEXT)
@click.option("--key-stdin", is_flag=True, help="Read the key from the first line of standard input.")
@common
def login(url: str, key_stdin: bool, profile: str, as_json: bool) -> None:
    """Store a key for the service at URL.

    The command asks for the key, checks it, and shows its owner. It stores the key in the system's keyring, or, if none
    works, in a file that other users cannot read.
    """
    try:
        profiles.check_url(url)
    except ValueError as error:
        raise click.BadParameter(f"{error}.", param_hint="URL") from None
    key = _key(key_stdin)
    with client_of(profiles.Access(url, key, profile, None)) as client:
        user = client.whoami().user_handle or ADMIN
    kept_in = profiles.save(profile, url, user, key)
    parts = urlsplit(url)
    if parts.scheme == "http" and parts.hostname not in LOOPBACK:
        click.echo("Warning: the URL begins with http, so the network can read the key.", err=True)
    if profiles.environment_wins():
        click.echo("Warning: VECFERRY_URL and VECFERRY_KEY override the profile, until they are unset.", err=True)
    if as_json:
        show({"url": url, "user": user, "profile": profile, "kept_in": kept_in})
    else:
        click.echo(f"Logged in to {url} as {_words(user)}. The key is in {_place(kept_in)}.")


@commands.command(epilog="\b\nExample: vecferry logout --profile work")
@common
def logout(profile: str, as_json: bool) -> None:
    """Forget a profile and its key. The key itself stays valid."""
    former = profiles.remove(profile)
    if as_json:
        show({"url": former.url, "user": former.user, "profile": profile})
    else:
        click.echo(f"The key of {_words(former.user)} at {former.url} is forgotten.")


@commands.command(epilog="\b\nExample: vecferry whoami")
@common
def whoami(profile: str, as_json: bool) -> None:
    """Show the owner of the key, as the service knows it."""
    access = profiles.access(profile)
    with client_of(access) as client:
        user = client.whoami().user_handle or ADMIN
    identity = {"url": access.url, "user": user, "profile": access.profile, "kept_in": access.kept_in}
    if as_json:
        show(identity)
        return
    words = {"user": _words(user), "service": access.url, "key": f"from {_place(access.kept_in)}"}
    pairs(words if access.profile is None else words | {"profile": access.profile})


def _key(from_stdin: bool) -> str:
    if from_stdin:
        key = sys.stdin.readline().strip()
    elif sys.stdin.isatty():
        key = click.prompt("Key", hide_input=True, err=True, type=str).strip()
    else:
        raise click.UsageError("Prompting for the key needs a terminal: send it to standard input with --key-stdin")
    if not key:
        raise click.UsageError("Missing key: the first line of standard input is empty")
    return str(key)


def _words(user: str) -> str:
    return "the admin" if user == ADMIN else user


def _place(kept_in: str | None) -> str:
    if kept_in == "keyring":
        return "the system's keyring"
    return str(profiles.file_of_profiles()) if kept_in == "file" else "the environment"
