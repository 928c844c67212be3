"""How long something takes, and how often it can be done."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray


async def timed(run: Callable[[], Awaitable[Any]]) -> float:
    """The seconds that something takes."""
    start = time.perf_counter()
    await run()
    return time.perf_counter() - start


async def each(run: Callable[[int], Awaitable[Any]], count: int, warm_up: int = 20) -> NDArray[np.float64]:
    """The milliseconds of each of `count` runs, one after the other."""
    for number in range(warm_up):
        await run(number % count)
    return np.array([await timed(lambda number=number: run(number)) for number in range(count)]) * 1000  # type: ignore[misc]


async def per_second(run: Callable[[int], Awaitable[Any]], clients: int, seconds: float) -> float:
    """Operations per second of several clients at once."""
    end = time.perf_counter() + seconds
    done = 0

    async def client(number: int) -> None:
        nonlocal done
        while time.perf_counter() < end:
            await run(number)
            number += clients
            done += 1

    taken = await timed(lambda: asyncio.gather(*(client(number) for number in range(clients))))
    return done / taken
