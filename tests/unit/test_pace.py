"""Bodies that come slowly: which are given up, and when."""

import asyncio
import time
from collections.abc import AsyncGenerator

import pytest

from service import pace
from service.errors import TooSlow

LONGEST = 0.2


async def dripping(count: int, pause: float, piece: bytes = b"x") -> AsyncGenerator[bytes, None]:
    for _ in range(count):
        await asyncio.sleep(pause)
        yield piece


async def taken(body: AsyncGenerator[bytes, None], least: int = 0, longest: float = LONGEST) -> bytes:
    return b"".join([piece async for piece in pace.keep(body, longest, least)])


async def test_what_comes_in_time_comes_whole() -> None:
    assert await taken(dripping(0, 0)) == b""
    assert await taken(dripping(1000, 0)) == b"x" * 1000
    assert await taken(dripping(8, LONGEST / 2)) == b"x" * 8
    assert await taken(dripping(8, LONGEST / 2, b"x" * 1000), least=1024) == b"x" * 8000


@pytest.mark.parametrize("before", [0, 1, 3])
async def test_a_pause_ends_it(before: int) -> None:
    async def body() -> AsyncGenerator[bytes, None]:
        async for piece in dripping(before, LONGEST / 2):
            yield piece
        await asyncio.sleep(60)

    start = time.perf_counter()
    with pytest.raises(TooSlow, match="Nothing came of the body"):
        await taken(body())
    assert LONGEST * (0.9 + before / 2) < time.perf_counter() - start < LONGEST * (2 + before / 2)


async def test_a_trickle_ends_when_it_has_taken_long() -> None:
    start = time.perf_counter()
    with pytest.raises(TooSlow, match="less than 1,024 bytes a second"):
        await taken(dripping(1000, 0.01), least=1024)
    assert LONGEST * 0.9 < time.perf_counter() - start < LONGEST * 2


async def test_the_time_of_whoever_takes_it_does_not_count() -> None:
    came = 0
    async for piece in pace.keep(dripping(5, 0.01, b"x" * 100), LONGEST, 1024):
        came += len(piece)
        await asyncio.sleep(LONGEST * 1.2)
    assert came == 500


async def test_whoever_cancels_it_is_obeyed() -> None:
    task = asyncio.create_task(taken(dripping(1, 60), longest=60))
    await asyncio.sleep(0.05)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.05):
            await taken(dripping(1, 60), longest=60)
    with pytest.raises(TooSlow):
        async with asyncio.timeout(60):
            await taken(dripping(1, 60))
