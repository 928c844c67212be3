"""The state of the providers' encrypted keys, rotation of the encryption key, and its verification at the start.

All operations work in pages of one transaction each, may run beside the service, and can be interrupted and repeated.
"""

from collections.abc import AsyncIterator, Callable, Sequence
from typing import Literal

import msgspec

from service.database.statements import Db
from service.provider_keys.keyring import DoesNotOpen, Keyring, Sealed, instance_place
from service.queries import keys
from service.queries.keys import SealedKey, Sentinel

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
    counts: dict[str | None, list[int]] = {}
    failing: list[str] = []
    async for row in _sealed(db):
        count = counts.setdefault(row.key_id, [0, 0])
        count[0] += 1
        if opens(keyring, row) is None:
            count[1] += 1
        elif len(failing) < MAX_LISTED:
            failing.append(f"{row.owner}/{row.instance_handle}")
    uses = [
        KeyUse(key_id, _known_as(keyring, key_id), all_, open_)
        for key_id, (all_, open_) in sorted(counts.items(), key=lambda item: item[0] or "")
    ]
    plaintext, sentinel = await keys.count_plaintext_keys(db), await keys.get_sentinel(db)
    sealed_by = sentinel.key_id if sentinel else None
    return Status(
        keys=uses,
        plaintext=plaintext,
        not_opening=sum(one.sealed - one.open for one in uses),
        does_not_open=failing,
        sentinel=sealed_by,
        is_done=_is_done(keyring, uses, plaintext, sealed_by),
    )


async def progress(db: Db, keyring: Keyring) -> Progress:
    """Counts the provider keys without decrypting them."""
    counts, plaintext = await keys.count_sealed_keys(db), await keys.count_plaintext_keys(db)
    sentinel = await keys.get_sentinel(db)
    sealed = [SealedBy(row.key_id, _known_as(keyring, row.key_id), row.sealed) for row in counts]
    return Progress(sealed, plaintext, _is_done(keyring, sealed, plaintext, sentinel.key_id if sentinel else None))


def _is_done(keyring: Keyring, keys: Sequence[SealedBy], plaintext: int, sentinel: str | None) -> bool:
    is_proved = sentinel in (None, keyring.current.id)
    return is_proved and not plaintext and all(one.known_as == "current" for one in keys)


async def rotate(db: Db, keyring: Keyring, say: Say) -> Done:
    """Re-encrypts with the current key; keys that cannot be decrypted stay. Raises WrongKey before any change."""
    await prove(db, keyring)
    changed = failing = 0
    page: list[tuple[SealedKey, bytes]] = []

    async def store() -> int:
        count = await keys.reseal_keys(
            db,
            instance_ids=[row.instance_id for row, _ in page],
            old_blobs=[row.blob for row, _ in page],
            blobs=[blob for _, blob in page],
            key_id=keyring.current.id,
        )
        page.clear()
        return count

    async for row in _sealed(db, other_than=keyring.current.id):
        try:
            secret = _open(keyring, row)
        except DoesNotOpen as error:
            failing += 1
            say(f"{row.owner}/{row.instance_handle} was not changed: {error}")
            continue
        page.append((row, keyring.seal(secret, instance_place(row.owner, row.instance_handle)).blob))
        if len(page) == PAGE:
            changed += await store()
            say(f"Re-encrypted {changed:,} keys …")
    changed += await store()
    await _store_sentinel(db, keyring, replaces=True)
    return Done(changed, failing)


async def encrypt(db: Db, keyring: Keyring, say: Say) -> Done:
    """Encrypts the plaintext keys of the original system. Raises WrongKey before any change."""
    await prove(db, keyring)
    changed = after = 0
    while page := await keys.get_plaintext_keys(db, after=after, max_rows=PAGE):
        sealed = [
            keyring.seal(row.api_key, instance_place(row.owner, row.instance_handle)).blob if row.api_key else None
            for row in page
        ]
        changed += await keys.seal_plaintext_keys(
            db,
            instance_ids=[row.instance_id for row in page],
            api_keys=[row.api_key for row in page],
            blobs=sealed,
            key_id=keyring.current.id,
        )
        say(f"Encrypted {changed:,} keys …")
        after = page[-1].instance_id
    await keys.rewrite_instances(db)
    return Done(changed)


async def discard(db: Db, keyring: Keyring, say: Say) -> Done:
    """Removes the keys that cannot be decrypted, and accepts the current key, after the loss of a key."""
    changed = 0
    async for row in _sealed(db):
        if opens(keyring, row):
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
        keyring.open(Sealed(sentinel.sealed, sentinel.key_id), SENTINEL_PLACE)
    except DoesNotOpen:
        problem = f"ENCRYPTION_KEY is not the key of this database, which has the id {sentinel.key_id}."
        raise WrongKey(_advice(keyring, problem)) from None


def opens(keyring: Keyring, row: SealedKey) -> str | None:
    """The reason why a provider key cannot be decrypted; None if it can."""
    try:
        _open(keyring, row)
    except DoesNotOpen as error:
        return str(error)
    return None


def _known_as(keyring: Keyring, key_id: str | None) -> KnownAs:
    if key_id is None:
        return "original"
    if key_id == keyring.current.id:
        return "current"
    return "previous" if any(key.id == key_id for key in keyring.keys) else "unknown"


def _open(keyring: Keyring, row: SealedKey) -> str:
    return keyring.open(Sealed(row.blob, row.key_id), instance_place(row.owner, row.instance_handle))


async def _sealed(db: Db, other_than: str | None = None) -> AsyncIterator[SealedKey]:
    """All encrypted keys, or those not encrypted with the key `other_than`."""
    after = 0
    while page := await keys.get_sealed_keys(db, after=after, max_rows=PAGE, other_than=other_than):
        for row in page:
            yield row
        after = page[-1].instance_id


async def _none_opens(db: Db, keyring: Keyring) -> bool:
    """Whether there are encrypted keys, and none can be decrypted."""
    found = False
    async for row in _sealed(db):
        found = True
        if opens(keyring, row) is None:
            return False
    return found


async def _store_sentinel(db: Db, keyring: Keyring, *, replaces: bool) -> Sentinel:
    made = keyring.seal(SENTINEL, SENTINEL_PLACE)
    return await keys.store_sentinel(db, key_id=keyring.current.id, sealed=made.blob, replaces=replaces)


def _advice(keyring: Keyring, problem: str) -> str:
    ids = ", ".join(key.id for key in keyring.keys)
    return (
        f"{problem} The configured keys have the ids {ids}. Set ENCRYPTION_KEY to the right key. To rotate it, set the "
        "new key there and the old one in ENCRYPTION_KEY_PREVIOUS, and run `keys rotate`. If the right key is lost, "
        "`keys discard` removes what cannot be decrypted."
    )
