"""`keys`: the state of the providers' encrypted keys, and rotation of the encryption key."""

import secrets
import sys
from collections.abc import Awaitable, Callable
from typing import TypeVar

import click

from service.cli.common import EXIT_NOT_OPENING, EXIT_PENDING, as_json, database, load_settings, run, say, show
from service.database.pool import connected
from service.database.session import check
from service.database.statements import Db
from service.provider_keys import rotation as actions
from service.provider_keys.keyring import Keyring

R = TypeVar("R")


@click.group()
def keys() -> None:
    """Manage the encrypted keys of the providers. The database must have the schema of this version."""


@keys.command()
@as_json
def status(as_json: bool) -> None:
    """Count the provider keys by encryption key (exit 3: some need rotation; 4: some cannot be decrypted)."""
    found = _run(actions.status)
    if as_json:
        show(found)
    else:
        for use in found.keys:
            by = f"key {use.key_id} ({use.known_as})" if use.key_id else "an unnamed key of the original system"
            click.echo(f"{use.sealed:,} encrypted with {by}, of which {use.open:,} can be decrypted")
        click.echo(f"{found.plaintext:,} in plaintext")
        state = f"is encrypted with {found.sentinel}" if found.sentinel else "does not exist yet"
        click.echo(f"The text that verifies the key at startup {state}.")
        for name in found.does_not_open:
            click.echo(f"cannot be decrypted: {name}")
        if found.not_opening > len(found.does_not_open):
            click.echo(f"… {found.not_opening:,} in all")
    sys.exit(EXIT_NOT_OPENING if found.not_opening else 0 if found.is_done else EXIT_PENDING)


@keys.command()
@as_json
def rotate(as_json: bool) -> None:
    """Re-encrypt with ENCRYPTION_KEY what an older key encrypted (exit 4: some cannot be decrypted, and stay).

    The service may run meanwhile. After an interruption, run it again.
    """
    _report(_run(lambda db, keyring: actions.rotate(db, keyring, say)), "Re-encrypted {:,} keys.", as_json)


@keys.command()
@as_json
def encrypt(as_json: bool) -> None:
    """Encrypt the plaintext keys of the original system. It can be repeated safely."""
    _report(_run(lambda db, keyring: actions.encrypt(db, keyring, say)), "Encrypted {:,} keys.", as_json)


@keys.command()
@click.option("--yes", is_flag=True, required=True, help="Required: removed keys cannot be restored.")
@as_json
def discard(yes: bool, as_json: bool) -> None:
    """Remove the keys that cannot be decrypted, for when the encryption key is lost. Then use ENCRYPTION_KEY."""
    _report(_run(lambda db, keyring: actions.discard(db, keyring, say)), "Removed {:,} keys.", as_json)


@keys.command()
def generate() -> None:
    """Print a new key for ENCRYPTION_KEY."""
    click.echo(secrets.token_hex(32))


def _report(done: actions.Done, sentence: str, as_json: bool) -> None:
    if as_json:
        show(done)
    else:
        click.echo(sentence.format(done.changed))
    sys.exit(EXIT_NOT_OPENING if done.not_opening else 0)


def _run(action: Callable[[Db, Keyring], Awaitable[R]]) -> R:
    config = load_settings()

    async def work(url: str) -> R:
        async with connected(url) as connection:
            return await action(connection, Keyring(config.encryption_key, config.previous_keys))

    with database(config) as url:
        check(url)
        return run(work(url))
    raise AssertionError("unreachable")
