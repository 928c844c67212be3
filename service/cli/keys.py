"""`keys`: which key sealed the providers' keys, and exchanging it while the service serves."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

import click

from service.cli.common import (
    EXIT_NOT_OPENING,
    EXIT_PENDING,
    as_json,
    clear_errors,
    database,
    finish,
    load_settings,
    say,
    show,
)
from service.database.pool import connected
from service.database.session import check
from service.database.statements import Db
from service.provider_keys import keyring
from service.provider_keys import rotation as actions
from service.provider_keys.keyring import Keyring

R = TypeVar("R")


@click.group()
def keys() -> None:
    """Look after the sealed keys of the providers. The database must have the schema of this version."""


@keys.command()
@as_json
def status(as_json: bool) -> None:
    """Say which key sealed how many (exit 3: not all by the current one; 4: some do not open)."""
    found = _run(lambda db, keyring: actions.status(db, keyring))
    if as_json:
        show(found)
    else:
        for use in found.keys:
            by = f"key {use.key_id} ({use.known_as})" if use.key_id else "the original system, which names no key"
            click.echo(f"{use.sealed:,} sealed by {by}, of which {use.open:,} open")
        click.echo(f"{found.plaintext:,} in the clear")
        click.echo(f"The sentinel is sealed by {found.sentinel or 'no key yet'}.")
        for name in found.does_not_open:
            click.echo(f"does not open: {name}")
        if found.not_opening > len(found.does_not_open):
            click.echo(f"… {found.not_opening:,} in all")
    finish(EXIT_NOT_OPENING if found.not_opening else 0 if found.is_done else EXIT_PENDING)


@keys.command()
@as_json
def rotate(as_json: bool) -> None:
    """Seal all with ENCRYPTION_KEY that ENCRYPTION_KEY_PREVIOUS sealed (exit 4: some do not open, and stay).

    The service may serve meanwhile; interrupted, run it again.
    """
    _report(_run(lambda db, keyring: actions.rotate(db, keyring, say)), "Sealed {:,} keys anew.", as_json)


@keys.command()
@as_json
def encrypt(as_json: bool) -> None:
    """Seal what the original system kept in the clear, and clear it. Repeating it is harmless."""
    _report(_run(lambda db, keyring: actions.encrypt(db, keyring, say)), "Sealed {:,} keys.", as_json)


@keys.command()
@click.option("--yes", is_flag=True, required=True, help="Needed: what is removed cannot be brought back.")
@as_json
def discard(yes: bool, as_json: bool) -> None:
    """Remove the keys that do not open, because the key that sealed them is lost, and go on with ENCRYPTION_KEY."""
    _report(_run(lambda db, keyring: actions.discard(db, keyring, say)), "Removed {:,} keys.", as_json)


@keys.command()
def generate() -> None:
    """Print a fresh key for ENCRYPTION_KEY."""
    click.echo(keyring.Key.generate())


def _report(done: actions.Done, sentence: str, as_json: bool) -> None:
    if as_json:
        show(done)
    else:
        click.echo(sentence.format(done.changed))
    finish(EXIT_NOT_OPENING if done.not_opening else 0)


def _run(action: Callable[[Db, Keyring], Awaitable[R]]) -> R:
    config = load_settings()

    async def run(url: str) -> R:
        async with connected(url) as connection:
            return await action(connection, Keyring(config.encryption_key, config.previous_keys))

    with clear_errors(), database(config) as url:
        check(url)
        return asyncio.run(run(url))
    raise AssertionError("unreachable")
