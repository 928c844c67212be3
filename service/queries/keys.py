"""Statements of `sql/keys.sql`: the providers' keys as a whole. Pages go by instance_id, `after` the last one seen."""

import msgspec

from service.database.statements import Db, Queries

query = Queries(__name__)


class SealedKey(msgspec.Struct, frozen=True):
    """The sealed key of an instance; `key_id` as in service.provider_keys.keyring.Sealed."""

    instance_id: int
    owner: str
    instance_handle: str
    blob: bytes
    key_id: str | None


class SealedCount(msgspec.Struct, frozen=True):
    """How many keys are sealed by the key of this id, or by the original system, which names none."""

    key_id: str | None
    sealed: int


class PlaintextKey(msgspec.Struct, frozen=True):
    """A key that the original system kept in the clear."""

    instance_id: int
    owner: str
    instance_handle: str
    api_key: str


class Sentinel(msgspec.Struct, frozen=True):
    """A known text, sealed, and the id of the key."""

    key_id: str
    sealed: bytes


@query
async def get_sealed_keys(db: Db, *, after: int, max_rows: int) -> list[SealedKey]:
    """A page of all sealed keys."""


@query
async def count_sealed_keys(db: Db) -> list[SealedCount]:
    """All sealed keys, by the key that sealed them."""


@query
async def get_keys_to_rotate(db: Db, *, after: int, max_rows: int, key_id: str) -> list[SealedKey]:
    """A page of the keys that were not sealed with this key."""


@query
async def reseal_keys(
    db: Db, *, instance_ids: list[int], old_blobs: list[bytes], blobs: list[bytes], key_id: str
) -> int:
    """Replaces blobs that are still the old ones, and returns their number."""


@query
async def discard_keys(db: Db, *, instance_ids: list[int], old_blobs: list[bytes]) -> int:
    """Removes blobs that are still the old ones, and returns their number."""


@query
async def count_plaintext_keys(db: Db) -> int:
    """The number of plaintext keys."""


@query
async def get_plaintext_keys(db: Db, *, after: int, max_rows: int) -> list[PlaintextKey]:
    """A page of the plaintext keys."""


@query
async def seal_plaintext_keys(
    db: Db, *, instance_ids: list[int], api_keys: list[str], blobs: list[bytes | None], key_id: str
) -> int:
    """Seals plaintext keys that did not change meanwhile, and returns their number."""


@query
async def rewrite_instances(db: Db) -> None:
    """Writes the table of instances anew, without replaced rows. Not in a transaction."""


@query
async def get_sentinel(db: Db) -> Sentinel | None:
    """The sentinel; None before the first start."""


@query
async def insert_sentinel(db: Db, *, key_id: str, sealed: bytes) -> None:
    """Stores the sentinel unless there is one."""


@query
async def replace_sentinel(db: Db, *, key_id: str, sealed: bytes) -> None:
    """Exchanges the sentinel."""


query.complete()
