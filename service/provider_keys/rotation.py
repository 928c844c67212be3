"""The providers' keys as a whole: which key sealed them, exchanging it while the service serves, and proving it.

Every step is a page of a transaction, and may be interrupted and repeated.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Literal

import msgspec

from service.database.statements import Db
from service.provider_keys.keyring import DoesNotOpen, Keyring, Sealed, instance_place
from service.queries import keys
from service.queries.keys import SealedKey

PAGE = 500
MAX_LISTED = 1000
SENTINEL = "embedding-service"
SENTINEL_PLACE = "sentinel"
Say = Callable[[str], None]
KnownAs = Literal["current", "previous", "original", "unknown"]


class WrongKey(Exception):
    """ENCRYPTION_KEY is not the key of this database; the message says what to do."""


class KeyUse(msgspec.Struct, frozen=True):
    """How many provider keys one key sealed, and how many of these open.

    `key_id` is None for those of the original system, which names no key.
    """

    key_id: str | None
    known_as: KnownAs
    sealed: int
    open: int


class SealedBy(msgspec.Struct, frozen=True):
    """How many provider keys one key sealed; `key_id` is None for those of the original system, which names no key."""

    key_id: str | None
    known_as: KnownAs
    sealed: int


class Progress(msgspec.Struct, frozen=True):
    """How far the exchange of the encryption key is: which keys sealed how many, and how many are in the clear.

    `is_done`: the current key sealed everything, so that no other is needed.
    """

    sealed: list[SealedBy]
    plaintext: int
    is_done: bool


class Status(msgspec.Struct, frozen=True):
    """All provider keys by the key that sealed them. `does_not_open` names at most 1,000 instances.

    `is_done` as in Progress. `sentinel` is the key that sealed what proves the key at a start.
    """

    keys: list[KeyUse]
    plaintext: int
    not_opening: int
    does_not_open: list[str]
    sentinel: str | None
    is_done: bool


class Done(msgspec.Struct, frozen=True):
    """What a command changed, and how many keys it left because they do not open."""

    changed: int
    not_opening: int = 0


async def status(db: Db, keyring: Keyring) -> Status:
    """Tries every provider key."""
    counts: dict[str | None, list[int]] = {}
    failing: list[str] = []
    async for row in _pages(lambda after: keys.get_sealed_keys(db, after=after, max_rows=PAGE)):
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
    """Counts the provider keys, and tries none."""
    counts, plaintext = await keys.count_sealed_keys(db), await keys.count_plaintext_keys(db)
    sentinel = await keys.get_sentinel(db)
    sealed = [SealedBy(row.key_id, _known_as(keyring, row.key_id), row.sealed) for row in counts]
    return Progress(sealed, plaintext, _is_done(keyring, sealed, plaintext, sentinel.key_id if sentinel else None))


def _is_done(keyring: Keyring, keys: Sequence[KeyUse | SealedBy], plaintext: int, sentinel: str | None) -> bool:
    is_proved = sentinel in (None, keyring.current.id)
    return is_proved and not plaintext and all(one.known_as == "current" for one in keys)


async def rotate(db: Db, keyring: Keyring, say: Say) -> Done:
    """Seals anew, with the current key, all that another key sealed; those that do not open stay as they are.

    Raises WrongKey, and then has changed nothing.
    """
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

    current = keyring.current.id
    async for row in _pages(lambda after: keys.get_keys_to_rotate(db, after=after, max_rows=PAGE, key_id=current)):
        try:
            secret = _open(keyring, row)
        except DoesNotOpen as error:
            failing += 1
            say(f"{row.owner}/{row.instance_handle} stays as it is: {error}")
            continue
        page.append((row, keyring.seal(secret, instance_place(row.owner, row.instance_handle)).blob))
        if len(page) == PAGE:
            changed += await store()
            say(f"Sealed {changed:,} keys anew …")
    changed += await store()
    await _adopt(db, keyring)
    return Done(changed, failing)


async def encrypt(db: Db, keyring: Keyring, say: Say) -> Done:
    """Seals the keys that the original system kept in the clear, and clears them.

    Raises WrongKey, and then has changed nothing.
    """
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
        say(f"Sealed {changed:,} keys …")
        after = page[-1].instance_id
    await keys.rewrite_instances(db)
    return Done(changed)


async def discard(db: Db, keyring: Keyring, say: Say) -> Done:
    """Removes the keys that do not open, and goes on with the current key, because the right one is lost."""
    changed = 0
    async for row in _pages(lambda after: keys.get_sealed_keys(db, after=after, max_rows=PAGE)):
        if opens(keyring, row):
            say(f"{row.owner}/{row.instance_handle} has no provider key any more.")
            changed += await keys.discard_keys(db, instance_ids=[row.instance_id], old_blobs=[row.blob])
    await _adopt(db, keyring)
    return Done(changed)


async def prove(db: Db, keyring: Keyring) -> None:
    """Proves the keys with the sentinel, or makes it where there is none. Raises WrongKey."""
    sentinel = await keys.get_sentinel(db)
    if sentinel is None:
        if await _none_opens(db, keyring):
            raise WrongKey(_advice(keyring, "No provider key of this database opens with ENCRYPTION_KEY."))
        made = keyring.seal(SENTINEL, SENTINEL_PLACE)
        await keys.insert_sentinel(db, key_id=keyring.current.id, sealed=made.blob)
        sentinel = await keys.get_sentinel(db)
    if sentinel is None:
        raise WrongKey("The sentinel cannot be stored.")
    try:
        keyring.open(Sealed(sentinel.sealed, sentinel.key_id), SENTINEL_PLACE)
    except DoesNotOpen:
        problem = f"ENCRYPTION_KEY is not the key of this database, whose key has the id {sentinel.key_id}."
        raise WrongKey(_advice(keyring, problem)) from None


def opens(keyring: Keyring, row: SealedKey) -> str | None:
    """Why a provider key does not open; None when it does."""
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


async def _pages(get: Callable[[int], Awaitable[list[SealedKey]]]) -> AsyncIterator[SealedKey]:
    after = 0
    while page := await get(after):
        for row in page:
            yield row
        after = page[-1].instance_id


async def _none_opens(db: Db, keyring: Keyring) -> bool:
    """Whether there are sealed keys and none of them opens."""
    found = False
    async for row in _pages(lambda after: keys.get_sealed_keys(db, after=after, max_rows=PAGE)):
        found = True
        if opens(keyring, row) is None:
            return False
    return found


async def _adopt(db: Db, keyring: Keyring) -> None:
    made = keyring.seal(SENTINEL, SENTINEL_PLACE)
    await keys.insert_sentinel(db, key_id=keyring.current.id, sealed=made.blob)
    await keys.replace_sentinel(db, key_id=keyring.current.id, sealed=made.blob)


def _advice(keyring: Keyring, problem: str) -> str:
    ids = ", ".join(key.id for key in keyring.keys)
    return (
        f"{problem} The keys that are set have the ids {ids}. Set ENCRYPTION_KEY to the right one. To exchange it, put "
        "the new one there, the old one in ENCRYPTION_KEY_PREVIOUS, and run `keys rotate`. If the right key is lost, "
        "`keys discard` removes what does not open."
    )
