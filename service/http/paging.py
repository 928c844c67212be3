"""Pages of lists."""

from collections.abc import Awaitable, Callable
from typing import Annotated, Any, TypeVar

import msgspec
from msgspec import Meta

from service.http.request import Req

T = TypeVar("T")


class Page(msgspec.Struct, frozen=True):
    """The part of a list."""

    limit: Annotated[int, Meta(ge=1, le=200)] = 200
    offset: Annotated[int, Meta(ge=0, le=10**12)] = 0

    async def read(self, req: Req, ask: Callable[..., Awaitable[list[T]]], **given: Any) -> tuple[list[T], str | None]:
        """This page of what `ask` finds, and the URL of the next page, if there is one."""
        return self.of(req, await ask(req.pool, max_rows=self.limit + 1, skip=self.offset, **given))

    def of(self, req: Req, rows: list[T]) -> tuple[list[T], str | None]:
        """The rows of this page, from `limit` + 1 rows, and the URL of the next page, if there is one."""
        if len(rows) <= self.limit:
            return rows, None
        return rows[: self.limit], req.go_on(offset=self.offset + self.limit)
