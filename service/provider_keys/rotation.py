"""The state of the providers' encrypted keys, rotation of the encryption key, and its verification at the start.

All operations work in pages of one transaction each, may run beside the service, and can be interrupted and repeated.
"""

from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Literal

import msgspec

from service.database.statements import Db
from service.provider_keys.keyring import DoesNotOpen, Keyring, instance_place
from service.queries import keys
from service.queries.keys import SealedKey, Sentinel
from service.queries.llm_instances import InstanceRef

PAGE = 500
MAX_LISTED = 1000
SENTINEL = "embedding-service"
SENTINEL_PLACE = "sentinel"
Say = Callable[[str], None]
KnownAs = Literal["current", "previous", "original", "unknown"]


class WrongKey(Exception):
    """ENCRYPTION_KEY is not the key of this database; the message has the remedy."""


class SealedBy(msgspec.Struct, frozen=True):
    """The number of provider keys encrypted with a key; `key_id` is None for those of the original system."""

    key_id: str | None
    known_as: KnownAs
    sealed: int


class KeyUse(SealedBy, frozen=True):
    """SealedBy with the number of provider keys that can be decrypted."""

    open: int


class Progress(msgspec.Struct, frozen=True):
    """The progress of a rotation: the numbers of provider keys by encryption key, and in plaintext.

    `is_done`: everything is encrypted with the current key, so no other key is needed.
    """

    sealed: list[SealedBy]
    plaintext: int
    is_done: bool


class Status(msgspec.Struct, frozen=True):
    """All provider keys by encryption key. `does_not_open` lists at most 1,000 instances.

    `is_done` is as in Progress; `sentinel` is the key of the sentinel, which verifies the key at the start.
    """

    keys: list[KeyUse]
    plaintext: int
    not_opening: int
    does_not_open: list[str]
    sentinel: str | None
    is_done: bool


class Done(msgspec.Struct, frozen=True):
    """The numbers of changed keys, and of keys that cannot be decrypted."""

    changed: int
    not_opening: int = 0


async def status(db: Db, keyring: Keyring) -> Status:
    """Tries to decrypt every provider key."""
    sealed: Counter[str | None] = Counter()
    opening: Counter[str | None] = Counter()
    failing: list[str] = []
    async for page in _pages(db):
        for row in page:
            sealed[row.key_id] += 1
            if _opens(keyring, row):
                opening[row.key_id] += 1
            elif len(failing) < MAX_LISTED:
                failing.append(f"{row.owner}/{row.instance_handle}")
    uses = [
        KeyUse(key_id, _known_as(keyring, key_id), sealed[key_id], opening[key_id])
        for key_id in sorted(sealed, key=lambda key_id: key_id or "")
    ]
    plaintext, sentinel, is_done = await _rest(db, keyring, uses)
    return Status(uses, plaintext, sealed.total() - opening.total(), failing, sentinel, is_done)


async def progress(db: Db, keyring: Keyring) -> Progress:
    """Counts the provider keys without decrypting them."""
    counts = await keys.count_sealed_keys(db)
    sealed = [SealedBy(row.key_id, _known_as(keyring, row.key_id), row.sealed) for row in counts]
    plaintext, _, is_done = await _rest(db, keyring, sealed)
    return Progress(sealed, plaintext, is_done)


async def _rest(db: Db, keyring: Keyring, sealed: Sequence[SealedBy]) -> tuple[int, str | None, bool]:
    """The number of plaintext keys, the key of the sentinel, and `is_done`."""
    plaintext, stored = await keys.count_plaintext_keys(db), await keys.get_sentinel(db)
    sentinel = stored.key_id if stored else None
    is_proved = sentinel in (None, keyring.current.id)
    return plaintext, sentinel, is_proved and not plaintext and all(one.known_as == "current" for one in sealed)


async def rotate(db: Db, keyring: Keyring, say: Say) -> Done:
    """Re-encrypts with the current key; keys that cannot be decrypted stay. Raises WrongKey before any change."""
    await prove(db, keyring)
    changed = failing = 0
    async for page in _pages(db):
        resealed: list[tuple[SealedKey, bytes]] = []
        for row in page:
            if row.key_id == keyring.current.id:
                continue
            try:
                resealed.append((row, keyring.seal(_open(keyring, row), _place(row))))
            except DoesNotOpen as error:
                failing += 1
                say(f"{row.owner}/{row.instance_handle} was not changed: {error}")
        if resealed:
            changed += await keys.reseal_keys(
                db,
                instance_ids=[row.instance_id for row, _ in resealed],
                old_blobs=[row.blob for row, _ in resealed],
                blobs=[blob for _, blob in resealed],
                key_id=keyring.current.id,
            )
            say(f"Re-encrypted {changed:,} keys …")
    await _store_sentinel(db, keyring, replaces=True)
    return Done(changed, failing)


async def encrypt(db: Db, keyring: Keyring, say: Say) -> Done:
    """Encrypts the plaintext keys of the original system. Raises WrongKey before any change."""
    await prove(db, keyring)
    changed = after = 0
    while page := await keys.get_plaintext_keys(db, after=after, max_rows=PAGE):
        changed += await keys.seal_plaintext_keys(
            db,
            instance_ids=[row.instance_id for row in page],
            api_keys=[row.api_key for row in page],
            blobs=[keyring.seal(row.api_key, _place(row)) if row.api_key else None for row in page],
            key_id=keyring.current.id,
        )
        say(f"Encrypted {changed:,} keys …")
        after = page[-1].instance_id
    await keys.rewrite_instances(db)
    return Done(changed)


async def discard(db: Db, keyring: Keyring, say: Say) -> Done:
    """Removes the keys that cannot be decrypted, and accepts the current key, after the loss of a key."""
    changed = 0
    async for page in _pages(db):
        for row in page:
            if not _opens(keyring, row):
                say(f"Removed the provider key of {row.owner}/{row.instance_handle}.")
                changed += await keys.reseal_keys(
                    db, instance_ids=[row.instance_id], old_blobs=[row.blob], blobs=[None], key_id=None
                )
    await _store_sentinel(db, keyring, replaces=True)
    return Done(changed)


async def prove(db: Db, keyring: Keyring) -> None:
    """Verifies the keys with the sentinel, or creates it. Raises WrongKey."""
    sentinel = await keys.get_sentinel(db)
    if sentinel is None:
        if await _none_opens(db, keyring):
            raise WrongKey(_advice(keyring, "No provider key of this database can be decrypted with ENCRYPTION_KEY."))
        sentinel = await _store_sentinel(db, keyring, replaces=False)
    try:
        keyring.open(sentinel.sealed, sentinel.key_id, SENTINEL_PLACE)
    except DoesNotOpen:
        problem = f"ENCRYPTION_KEY is not the key of this database, which has the id {sentinel.key_id}."
        raise WrongKey(_advice(keyring, problem)) from None


def _known_as(keyring: Keyring, key_id: str | None) -> KnownAs:
    if key_id is None:
        return "original"
    if key_id == keyring.current.id:
        return "current"
    return "previous" if any(key.id == key_id for key in keyring.keys) else "unknown"


def _open(keyring: Keyring, row: SealedKey) -> str:
    return keyring.open(row.blob, row.key_id, _place(row))


def _opens(keyring: Keyring, row: SealedKey) -> bool:
    try:
        _open(keyring, row)
    except DoesNotOpen:
        return False
    return True


def _place(row: InstanceRef) -> str:
    return instance_place(row.owner, row.instance_handle)


async def _pages(db: Db) -> AsyncIterator[list[SealedKey]]:
    after = 0
    while page := await keys.get_sealed_keys(db, after=after, max_rows=PAGE):
        yield page
        after = page[-1].instance_id


async def _none_opens(db: Db, keyring: Keyring) -> bool:
    """Whether there are encrypted keys, and none can be decrypted."""
    found = False
    async for page in _pages(db):
        found = True
        if any(_opens(keyring, row) for row in page):
            return False
    return found


async def _store_sentinel(db: Db, keyring: Keyring, *, replaces: bool) -> Sentinel:
    sealed = keyring.seal(SENTINEL, SENTINEL_PLACE)
    return await keys.store_sentinel(db, key_id=keyring.current.id, sealed=sealed, replaces=replaces)


def _advice(keyring: Keyring, problem: str) -> str:
    ids = ", ".join(key.id for key in keyring.keys)
    return (
        f"{problem} The configured keys have the ids {ids}. Set ENCRYPTION_KEY to the right key. To rotate it, set the "
        "new key there and the old one in ENCRYPTION_KEY_PREVIOUS, and run `keys rotate`. If the right key is lost, "
        "`keys discard` removes what cannot be decrypted."
    )
