"""Lists that the service sends in pages."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from typing import Any, TypeVar

import msgspec

from vecferry.transport import Transport

T = TypeVar("T")


async def listed(
    transport: Transport, path: str, field: str, kind: type[T], query: Mapping[str, Any] | None = None
) -> AsyncIterator[T]:
    """The items of a list, which each page has as its `field`."""
    page_type = msgspec.defstruct("Page", [(field, list[kind])])  # type: ignore[valid-type]
    async for page in transport.pages(path, page_type, query):
        for item in getattr(page, field):
            yield item
