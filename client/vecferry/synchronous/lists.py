# Made from vecferry/asynchronous by generate_synchronous.py: change that, and run this.
"""Lists that the service sends in pages."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, TypeVar

import msgspec

from vecferry.loop_thread import SyncTransport

T = TypeVar("T")


def listed(
    transport: SyncTransport, path: str, field: str, kind: type[T], query: Mapping[str, Any] | None = None
) -> Iterator[T]:
    """The items of a list, which each page has as its `field`."""
    page_type = msgspec.defstruct("Page", [(field, list[kind])])  # type: ignore[valid-type]
    for page in transport.pages(path, page_type, query):
        for item in getattr(page, field):
            yield item
