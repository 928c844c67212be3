"""One project: its properties; uploads, reading, searches and deletions."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from vecferry import engines
from vecferry.asynchronous.embeddings import AsyncEmbeddings
from vecferry.asynchronous.lists import listed
from vecferry.names import given, owner_and_handle, path_to
from vecferry.pull import pull_to
from vecferry.push import push_data
from vecferry.results import Progress, PullResult, PushResult, UploadResult
from vecferry.rows import Rows
from vecferry.structs import (
    ManySimilars,
    MapMethod,
    Part,
    ProjectInfo,
    ProjectInstance,
    ProjectMap,
    Role,
    SchemaCheck,
    Share,
    Similars,
    Stored,
)
from vecferry.transport import Transport
from vecferry.upload import OnBadRow, Upload, upload_data

if TYPE_CHECKING:
    from vecferry.sources import Columns


class AsyncProject:
    """A project of the name `owner/name`. Nothing is sent until a method is called."""

    def __init__(self, transport: Transport, name: str) -> None:
        self.owner, self.handle = owner_and_handle(name)
        self.name = name
        self.embeddings = AsyncEmbeddings(transport, name)
        self._transport = transport

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.name!r})"

    async def get(self) -> ProjectInfo:
        """The project, with the number of its embeddings and how it is searched."""
        return await self._transport.send("GET", path_to("projects", self.name), ProjectInfo)

    async def instance(self) -> ProjectInstance:
        """The part of its instance that readers may see: its model, its dimensions, and whether it embeds texts."""
        return await self._transport.send("GET", path_to("projects", self.name, "instance"), ProjectInstance)

    async def patch(self, changes: Mapping[str, Any]) -> ProjectInfo:
        """Changes some properties (a JSON merge patch)."""
        return await self._transport.send("PATCH", path_to("projects", self.name), ProjectInfo, body=changes)

    async def delete(self) -> None:
        """Deletes the project with all its embeddings."""
        await self._transport.send("DELETE", path_to("projects", self.name), type(None))

    async def transfer(self, new_owner: str) -> AsyncProject:
        """Transfers the project to another user, who has access to its instance."""
        path = path_to("projects", self.name, "transfer")
        # Not repeated: the second time there would be nothing to hand over.
        await self._transport.send("POST", path, type(None), body={"new_owner": new_owner}, repeat=False)
        return AsyncProject(self._transport, f"{new_owner}/{self.handle}")

    async def share(self, user: str, role: Role) -> None:
        """Shares the project, or changes the role: readers read and search, editors upload and delete too."""
        body = {"share_with_handle": user, "role": role}
        await self._transport.send("POST", path_to("projects", self.name, "share"), type(None), body=body)

    async def unshare(self, user: str) -> None:
        """Ends the sharing with a user."""
        await self._transport.send("DELETE", path_to("projects", self.name, "share", user), type(None))

    def shared_with(self) -> AsyncIterator[Share]:
        """The users with whom the project is shared, without the public."""
        return listed(self._transport, path_to("projects", self.name, "shared-with"), "shared_with", Share)

    async def upload(
        self,
        data: Any,
        *,
        ids: Any = None,
        texts: Any = None,
        metadata: Any = None,
        columns: Columns | None = None,
        on_bad_row: OnBadRow = "report",
        progress: Callable[[Progress], None] | bool | None = None,
        parallel: int | None = None,
    ) -> UploadResult:
        """Stores embeddings of any size and form: an array with `ids`, records, a table, or the path of a file.

        See `vecferry.open_source` for what `data`, `ids`, `texts`, `metadata` and `columns` may be; an asynchronous
        iterator of records may be `data` too. Vectors are stored as float16. Rows that cannot be stored are reported in
        the result (`on_bad_row="report"`), or end the upload (`"stop"`, with BadRows). Sending the same again is
        harmless; of rows with the same id the last one counts. `progress` is called with each Progress; True shows a
        bar, None does where somebody may see it. `parallel` fixes how many requests are sent at once; without it the
        upload finds out. Raises the error that ended the upload, with the stored rows as `uploaded`.
        """
        return await self._transport.run(
            lambda transport: upload_data(
                transport,
                self.name,
                data,
                ids=ids,
                texts=texts,
                metadata=metadata,
                columns=columns,
                on_bad_row=on_bad_row,
                progress=progress,
                parallel=parallel,
            )
        )

    async def push(
        self,
        data: Any,
        *,
        ids: Any = None,
        texts: Any = None,
        metadata: Any = None,
        columns: Columns | None = None,
        delete: bool = False,
        dry_run: bool = False,
        confirm: Callable[[int], bool] | None = None,
        on_bad_row: OnBadRow = "report",
        progress: Callable[[Progress], None] | bool | None = None,
    ) -> PushResult:
        """Stores the rows that the project lacks or has differently: `data` as of `upload`, but not iterators.

        Digests are compared first, so that equal rows are not sent; and a file that has not changed since
        its last push, into a project that has not changed either, is not read. With `delete` embeddings are deleted
        that the data have not, after `confirm` has said yes to their number; none are when some rows are bad. With
        `dry_run` nothing is changed. Of rows with the same id only the last one counts. An interrupted push has stored
        a part, and the next one sends the rest.
        """
        return await self._transport.run(
            lambda transport: push_data(
                transport,
                self.name,
                data,
                ids=ids,
                texts=texts,
                metadata=metadata,
                columns=columns,
                delete=delete,
                dry_run=dry_run,
                confirm=confirm,
                on_bad_row=on_bad_row,
                progress=progress,
            )
        )

    async def pull(
        self,
        path: str | os.PathLike[str],
        *,
        since: bool = False,
        progress: Callable[[Progress], None] | bool | None = None,
    ) -> PullResult:
        """Writes the project into a file of a kind that `open_sink` knows, such as `.parquet`.

        With `since` only what has changed since the last pull into this file is fetched, where that is known. The file
        is replaced when all is there; an interrupted pull is gone on with by the next one.
        """
        return await self._transport.run(
            lambda transport: pull_to(transport, self.name, path, since=since, progress=progress)
        )

    async def upload_rows(
        self,
        rows: Iterator[Rows],
        *,
        total: int | None = None,
        on_bad_row: OnBadRow = "report",
        progress: Callable[[Progress], None] | bool | None = None,
        parallel: int | None = None,
    ) -> UploadResult:
        """Stores rows that are in their final form already; a thread of its own reads them. Otherwise as `upload`."""
        return await self._transport.run(
            lambda transport: Upload(
                transport, self.name, total=total, on_bad_row=on_bad_row, progress=progress, parallel=parallel
            ).run(rows)
        )

    async def texts(self, records: Iterable[Mapping[str, Any]]) -> Stored:
        """Lets the project's instance embed texts, and stores them: `{"text_id", "text", "metadata"?}` each.

        A text that is stored under its id already is not embedded again. Some hundred are a batch, which is all or
        nothing. Raises the error that ended it, with the rows stored before as `uploaded`.
        """
        return await self._transport.run(lambda transport: engines.send_texts(transport, self.name, records))

    async def similar(
        self,
        *,
        vector: Any = None,
        id: str | None = None,  # noqa: A002
        text: str | None = None,
        limit: int = 10,
        threshold: float | None = None,
        filter: Mapping[str, Any] | None = None,  # noqa: A002
        include: Sequence[Part] = (),
        exact: bool = False,
        recall: float | None = None,
    ) -> Similars:
        """Texts similar to a vector `(dimensions,)`, to a stored text by its `id`, or to a `text`.

        `limit`: at most 200. `threshold`: the least similarity, from -1 to 1; the service's own is 0.5. `filter`: only
        texts whose metadata fit, such as `{"year": {"$gte": 1900}}`. `include`: `text` and `metadata` of the results.
        `exact` finds all of the nearest; `recall` is the share of them that must be found.
        """
        if [vector is None, id is None, text is None].count(False) != 1:
            raise ValueError("One of vector, id and text is needed.")
        query = {"limit": limit, "threshold": threshold, "exact": exact or None, "recall": recall}
        more = given(filter=filter, include=list(include) or None)
        return await self._transport.run(
            lambda transport: engines.search(
                transport, self.name, given(vector=vector, text_id=id, text=text), query, more
            )
        )

    async def search_many(
        self,
        vectors: Any,
        *,
        limit: int = 10,
        threshold: float | None = None,
        filter: Mapping[str, Any] | None = None,  # noqa: A002
        include: Sequence[Part] = (),
        exact: bool = False,
        recall: float | None = None,
    ) -> ManySimilars:
        """Texts similar to each of many vectors `(n, dimensions)`, in their order; otherwise as `similar`."""
        query = {"limit": limit, "threshold": threshold, "exact": exact or None, "recall": recall}
        more = given(filter=filter, include=list(include) or None)
        return await self._transport.run(
            lambda transport: engines.search_many(transport, self.name, vectors, query, more)
        )

    async def check_schema(self, schema: Mapping[str, Any] | str) -> SchemaCheck:
        """The stored rows whose metadata violate a JSON Schema. Nothing is changed. For the owner."""
        return await self._transport.run(lambda transport: engines.check_schema(transport, self.name, schema))

    async def map(
        self, method: MapMethod = "pca", *, limit: int | None = None, field: str | None = None, wait: float = 600
    ) -> ProjectMap:
        """The embeddings as points in the plane, by principal components or by neighbours.

        Of a large project `limit` of them, chosen by a hash of their ids; 100,000 at most. `field` adds a field of the
        metadata, named as in filters. The first map of a project takes seconds, by neighbours minutes. Raises NotReady
        when it is not ready after `wait` seconds, and VecferryError when it cannot be made.
        """
        return await self._transport.run(
            lambda transport: engines.map_of(transport, self.name, method, limit, field, wait)
        )
