"""The contents of a project, as digests."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from vecferry.digests import PARTS, Digested, Totals, buckets_of, id_hash
from vecferry.names import path_to
from vecferry.transport import Transport

MOST_BUCKETS = 1000  # that a request names; of more, all rows are read
PAGE = 10_000


class Position(msgspec.Struct, frozen=True):
    """The state of a project: `changes` counts all insertions, changes and deletions in a `log`, if known."""

    number_of_embeddings: int
    changes: int | None = None
    log: str | None = None


class _BucketDigests(msgspec.Struct):
    rows: list[int]
    vectors: list[str]
    texts: list[str]
    metadata: list[str]


class _Digests(msgspec.Struct):
    text_ids: list[str]
    vectors: list[str]
    texts: list[str | None]
    metadata: list[str | None]


async def position(transport: Transport, project: str) -> Position:
    """The state of a project."""
    return await transport.send("GET", path_to("projects", project), Position)


async def totals(transport: Transport, project: str) -> Totals:
    """The digests of a project's embeddings, combined in buckets."""
    found = Totals()
    async for page in transport.pages(path_to("embeddings", project, "digests", "buckets"), _BucketDigests):
        found.rows += np.array(page.rows, np.int64)
        for total, part in zip(found.parts, (page.vectors, page.texts, page.metadata), strict=True):
            total ^= _numbers(part)
    return found


def differing(ours: Totals, theirs: Totals, parts: Sequence[int]) -> NDArray[np.bool_]:
    """Which buckets differ in their number of rows or in one of these parts: `(4096,) bool`."""
    differ: NDArray[np.bool_] = ours.rows != theirs.rows
    for part in parts:
        differ |= ours.parts[part] != theirs.parts[part]
    return differ


class Remote:
    """The embeddings of some buckets of a project: hashes of their ids and digests, 33 bytes each.

    `SAME`, `CHANGED` and `NEW` are the states of a local row. Two ids of one hash would only make equal rows look
    changed, as the digests are of the ids as well.
    """

    SAME, CHANGED, NEW = 0, 1, 2

    def __init__(self, ids: NDArray[np.uint64], parts: NDArray[np.uint64]) -> None:
        order = np.argsort(ids, kind="stable")
        self._ids, self._parts = ids[order], parts[:, order]
        self._seen = np.zeros(len(ids), np.bool_)

    def compare(self, ours: Digested, parts: Sequence[int]) -> NDArray[np.int8]:
        """The state of each row, by these parts: `(n,) int8`."""
        kinds = np.full(len(ours.ids), self.NEW, np.int8)
        if not len(self._ids):
            return kinds
        places = np.minimum(np.searchsorted(self._ids, ours.ids), len(self._ids) - 1)
        known = self._ids[places] == ours.ids
        self._seen[places[known]] = True
        same = known.copy()
        for part in parts:
            same &= self._parts[part, places] == ours.parts[part]
        kinds[known] = self.CHANGED
        kinds[same] = self.SAME
        return kinds

    @property
    def unseen(self) -> int:
        """The number of these embeddings in no comparison."""
        return int(len(self._seen) - self._seen.sum())

    def is_unseen(self, text_id: str, parts: NDArray[np.uint64]) -> bool:
        """Whether an embedding is one of them, and still as it was."""
        hashed = np.uint64(id_hash(text_id))
        place = int(np.searchsorted(self._ids, hashed))
        return (
            place < len(self._ids)
            and self._ids[place] == hashed
            and not self._seen[place]
            and bool(np.array_equal(self._parts[:, place], parts))
        )


async def remote_rows(transport: Transport, project: str, buckets: NDArray[np.bool_]) -> Remote:
    """The embeddings in some buckets."""
    ids: list[NDArray[np.uint64]] = [np.zeros(0, np.uint64)]
    parts: list[NDArray[np.uint64]] = [np.zeros((PARTS, 0), np.uint64)]
    async for page in _digests(transport, project, buckets):
        hashes = np.array([id_hash(text_id) for text_id in page.text_ids], np.uint64)
        wanted = buckets[buckets_of(hashes)]
        ids.append(hashes[wanted])
        columns = (page.vectors, page.texts, page.metadata)
        parts.append(np.array([_numbers(column)[wanted] for column in columns], np.uint64).reshape(PARTS, -1))
    return Remote(np.concatenate(ids), np.concatenate(parts, axis=1))


async def unseen_ids(
    transport: Transport, project: str, buckets: NDArray[np.bool_], rows: Remote
) -> AsyncIterator[str]:
    """The ids of embeddings in some buckets that were in no comparison."""
    async for page in _digests(transport, project, buckets):
        for text_id, *digests in zip(page.text_ids, page.vectors, page.texts, page.metadata, strict=True):
            if rows.is_unseen(text_id, _numbers(digests)):
                yield text_id


async def _digests(transport: Transport, project: str, buckets: NDArray[np.bool_]) -> AsyncIterator[_Digests]:
    query: dict[str, Any] = {"limit": PAGE}
    numbers = np.flatnonzero(buckets)
    if not numbers.size:
        return
    if numbers.size <= MOST_BUCKETS:
        query["buckets"] = ",".join(map(str, numbers))
    async for page in transport.pages(path_to("embeddings", project, "digests"), _Digests, query):
        yield page


def _numbers(digests: Sequence[str | None]) -> NDArray[np.uint64]:
    return np.frombuffer(bytes.fromhex("".join([one or "0" * 16 for one in digests])), ">u8").astype(np.uint64)
