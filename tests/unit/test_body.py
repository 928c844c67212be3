"""Bodies that come slowly: which time out, and when."""

import asyncio
import time
from collections.abc import AsyncGenerator

import pytest
from starlette.requests import ClientDisconnect
from starlette.types import Message, Receive

from service.admission import Shares
from service.errors import Busy, TooSlow
from service.http.body import Body

LONGEST = 0.4
PAUSE = LONGEST / 4  # on a busy machine it takes longer


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


def body(receive: Receive, longest: float = LONGEST) -> Body:
    memory = Shares(1024, part=1024, reserve=0, wait=1, what="bytes")
    return Body({"transfer-encoding": "chunked"}, receive, memory, longest)


async def joined(receive: Receive, longest: float, least: int) -> bytes:
    return b"".join([piece async for piece in body(receive, longest).chunks(least=least)])


async def taken(pieces: AsyncGenerator[bytes, None], least: int = 0, longest: float = LONGEST) -> bytes:
    return await joined(received(pieces), longest, least)


@pytest.mark.slow
async def test_what_comes_in_time_comes_whole() -> None:
    assert await taken(dripping(0, 0)) == b""
    assert await taken(dripping(1000, 0)) == b"x" * 1000
    assert await taken(dripping(8, PAUSE)) == b"x" * 8
    assert await taken(dripping(8, PAUSE, b"x" * 1000), least=1024) == b"x" * 8000


@pytest.mark.parametrize("before", [0, 1, 3])
async def test_a_pause_ends_it(before: int) -> None:
    async def pausing() -> AsyncGenerator[bytes, None]:
        async for piece in dripping(before, PAUSE):
            yield piece
        await asyncio.sleep(60)

    start = time.perf_counter()
    with pytest.raises(TooSlow, match="No part of the body arrived"):
        await taken(pausing())
    assert LONGEST * 0.9 + before * PAUSE < time.perf_counter() - start < 30


async def test_a_trickle_ends_when_it_has_taken_long() -> None:
    start = time.perf_counter()
    with pytest.raises(TooSlow, match="less than 1,024 bytes a second"):
        await body(received(dripping(1000, 0.01))).read(10_000)
    assert LONGEST * 0.9 < time.perf_counter() - start < 8  # all of it would take ten


@pytest.mark.slow
async def test_the_time_of_the_service_does_not_count() -> None:
    came = 0
    async for piece in body(received(dripping(3, 0.01, b"x" * 100))).chunks(least=1024):
        came += len(piece)
        await asyncio.sleep(LONGEST * 1.2)
    assert came == 300


async def test_a_pause_in_which_the_client_waits_for_an_answer_does_not_count() -> None:
    begin = asyncio.get_running_loop().time()
    pieces = body(received(dripping(1, LONGEST * 3))).chunks(lambda: begin + LONGEST * 2.5)
    assert [piece async for piece in pieces] == [b"x"]
    with pytest.raises(TooSlow):
        await anext(body(received(dripping(1, LONGEST * 3))).chunks(lambda: begin))


async def test_it_can_be_cancelled() -> None:
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


async def test_a_disconnect_is_reported() -> None:
    async def receive() -> Message:
        return {"type": "http.disconnect"}

    with pytest.raises(ClientDisconnect):
        await body(receive).read(100)


async def test_a_request_does_not_wait_for_more_memory_than_its_caller_may_have() -> None:
    memory = Shares(2000, part=1000, reserve=0, wait=0.05, what="bytes")
    own = Body({}, received(dripping(0, 0)), memory, LONGEST)
    for _ in range(3):  # for a body, the ids of its results, and their texts
        await own.make_room(700)
    with pytest.raises(Busy):
        await Body({}, received(dripping(0, 0)), memory, LONGEST).make_room(1)
    own.leave_room()
    assert await memory.acquire("", 1000) == 1000
