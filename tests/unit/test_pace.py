"""Bodies that come slowly: which are given up, and when."""

import asyncio
import time
from collections.abc import AsyncGenerator, Awaitable, Callable

import pytest
from starlette.requests import ClientDisconnect
from starlette.types import Message, Receive

from service.errors import TooSlow
from service.http import pace

LONGEST = 0.2


async def dripping(count: int, pause: float, piece: bytes = b"x") -> AsyncGenerator[bytes, None]:
    for _ in range(count):
        await asyncio.sleep(pause)
        yield piece


def received(body: AsyncGenerator[bytes, None]) -> Receive:
    """What a server gives an application of this body."""

    async def receive() -> Message:
        piece = await anext(body, None)
        return {"type": "http.request", "body": piece or b"", "more_body": piece is not None}

    return receive


async def joined(receive: Receive, longest: float, least: int) -> bytes:
    return b"".join([piece async for piece in pace.pieces(receive, longest, least)])


Taken = Callable[..., Awaitable[bytes]]


@pytest.fixture(params=[joined, pace.whole])
def taken(request: pytest.FixtureRequest) -> Taken:
    """Both ways to take a body."""

    async def take(body: AsyncGenerator[bytes, None], least: int = 0, longest: float = LONGEST) -> bytes:
        way: Callable[[Receive, float, int], Awaitable[bytes]] = request.param
        return await way(received(body), longest, least)

    return take


@pytest.mark.slow
async def test_what_comes_in_time_comes_whole(taken: Taken) -> None:
    assert await taken(dripping(0, 0)) == b""
    assert await taken(dripping(1000, 0)) == b"x" * 1000
    assert await taken(dripping(8, LONGEST / 2)) == b"x" * 8
    assert await taken(dripping(8, LONGEST / 2, b"x" * 1000), least=1024) == b"x" * 8000


@pytest.mark.parametrize("before", [0, 1, 3])
async def test_a_pause_ends_it(taken: Taken, before: int) -> None:
    async def body() -> AsyncGenerator[bytes, None]:
        async for piece in dripping(before, LONGEST / 2):
            yield piece
        await asyncio.sleep(60)

    start = time.perf_counter()
    with pytest.raises(TooSlow, match="Nothing came of the body"):
        await taken(body())
    assert LONGEST * (0.9 + before / 2) < time.perf_counter() - start < 30


async def test_a_trickle_ends_when_it_has_taken_long(taken: Taken) -> None:
    start = time.perf_counter()
    with pytest.raises(TooSlow, match="less than 1,024 bytes a second"):
        await taken(dripping(1000, 0.01), least=1024)
    assert LONGEST * 0.9 < time.perf_counter() - start < 8  # all of it would take ten


@pytest.mark.slow
async def test_the_time_of_whoever_takes_it_does_not_count() -> None:
    came = 0
    async for piece in pace.pieces(received(dripping(5, 0.01, b"x" * 100)), LONGEST, 1024):
        came += len(piece)
        await asyncio.sleep(LONGEST * 1.2)
    assert came == 500


async def test_whoever_cancels_it_is_obeyed(taken: Taken) -> None:
    task = asyncio.ensure_future(taken(dripping(1, 60), longest=60))
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


async def test_whoever_leaves_is_told_of() -> None:
    async def receive() -> Message:
        return {"type": "http.disconnect"}

    with pytest.raises(ClientDisconnect):
        await pace.whole(receive, LONGEST, 0)
    with pytest.raises(ClientDisconnect):
        await anext(pace.pieces(receive, LONGEST, 0))
