"""The deadline of a request, and of the search in it."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from service.errors import Busy


@asynccontextmanager
async def deadline(seconds: float, message: str = "") -> AsyncIterator[None]:
    """Cancels the block after `seconds`, in PostgreSQL too, and raises Busy with `message`."""
    try:
        async with asyncio.timeout(seconds) as timeout:
            yield
    except TimeoutError:
        if not timeout.expired():
            raise
        usual = f"The request timed out after {seconds:g} s. Its changes may or may not have been applied."
        raise Busy(message or usual) from None
