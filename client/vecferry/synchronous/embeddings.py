# Made from vecferry/asynchronous by generate_synchronous.py: change that, and run this.
"""The embeddings of one project: read and deleted."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from vecferry import engines
from vecferry.errors import NotFound, Problem
from vecferry.loop_thread import SyncTransport
from vecferry.names import path_to
from vecferry.structs import Deleted, Embedding, Found, Part
from vecferry.synchronous.lists import listed

PARTS: tuple[Part, ...] = ("vector", "text", "metadata")
TAKEN = {"changes", "digests"}  # ids whose paths lead to something else


class Embeddings:
    """The embeddings of a project; iterating over it reads all of them, page by page, in the order of their ids."""

    def __init__(self, transport: SyncTransport, project: str) -> None:
        self._transport, self._project = transport, project

    def __iter__(self) -> Iterator[Embedding]:
        return self.list()

    def list(
        self,
        *,
        include: Sequence[Part] = PARTS,
        after: str | None = None,
        filter: Mapping[str, Any] | None = None,  # noqa: A002
        page_size: int = 200,
    ) -> Iterator[Embedding]:
        """All embeddings behind the id `after`, with these parts; `page_size` of them are fetched together.

        `filter`: only those whose metadata fit, as in a search.
        """
        # Short, as the service limits its characters.
        only = None if filter is None else json.dumps(filter, ensure_ascii=False, separators=(",", ":"))
        query = {"include": ",".join(include), "after": after, "limit": page_size, "filter": only}
        return listed(self._transport, path_to("embeddings", self._project), "embeddings", Embedding, query)

    def get(self, text_id: str) -> Embedding:
        """An embedding. Raises NotFound."""
        if text_id in TAKEN:
            found = self.get_many([text_id])
            if found.missing:
                raise NotFound(Problem("Not Found", 404, f"The embedding {text_id!r} was not found."))
            return found.embeddings[0]
        return self._transport.send("GET", path_to("embeddings", self._project, text_id), Embedding)

    def get_many(self, ids: Iterable[str], *, include: Sequence[Part] = PARTS) -> Found:
        """The embeddings with these ids, and the ids not found."""
        engines.check_ids(ids)
        return self._transport.run(lambda transport: engines.get_many(transport, self._project, ids, include))

    def delete(
        self,
        *,
        ids: Iterable[str] | None = None,
        filter: Mapping[str, Any] | None = None,  # noqa: A002
        dry_run: bool = False,
    ) -> Deleted:
        """Deletes the embeddings of these ids, those whose metadata pass a filter, or those that are both.

        With `dry_run` they stay. Of very many ids each thousand is all or nothing.
        """
        if ids is None and filter is None:
            raise ValueError("ids or a filter is needed; to delete everything, delete the project.")
        if ids is None:
            body = {"filter": filter, "dry_run": dry_run}
            path = path_to("embeddings", self._project, "delete")
            return self._transport.send("POST", path, Deleted, body=body)
        engines.check_ids(ids)
        some = ids
        return self._transport.run(
            lambda transport: engines.delete_many(transport, self._project, some, filter, dry_run)
        )
