"""How slowly a client may send a body."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing

from service.errors import TooSlow

LEAST_BYTES_A_SECOND = 1024  # of a body, or of an answer, on average, once it has taken long


async def keep(body: AsyncGenerator[bytes, None], longest: float, least: int) -> AsyncGenerator[bytes, None]:
    """The pieces of a body as they come.

    Raises TooSlow when nothing comes for `longest` seconds, and when after so long it came with less than `least` bytes
    a second. Only the time in which the client is waited for counts, not what is done with the pieces meanwhile.
    """
    clock = asyncio.get_running_loop().time
    waited, came = 0.0, 0
    async with aclosing(body):
        while True:
            since = clock()
            try:
                async with asyncio.timeout(longest):
                    piece = await anext(body, None)
            except TimeoutError:
                raise TooSlow(f"Nothing came of the body for {longest:g} seconds.") from None
            if piece is None:
                return
            waited += clock() - since
            came += len(piece)
            if waited > longest and came < waited * least:
                raise TooSlow(f"The body came with less than {least:,} bytes a second.")
            yield piece
