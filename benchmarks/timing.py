"""How long something takes, and how often it can be done."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from functools import partial
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


async def in_turn(
    one: Callable[[int], Awaitable[Any]], other: Callable[[int], Awaitable[Any]], count: int, warm_up: int = 5
) -> tuple[float, float]:
    """The median milliseconds of two things, done `count` times in turn because other work comes and goes.

    Each is the first every other time, since the second finds what it reads in the caches.
    """
    taken: tuple[list[float], list[float]] = ([], [])
    for number in range(warm_up + count):
        for place in (0, 1) if number % 2 else (1, 0):
            taken[place].append(await timed(partial((one, other)[place], number % count)))
    first, second = (float(np.median(each[warm_up:])) * 1000 for each in taken)
    return first, second


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
