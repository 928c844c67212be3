"""Turns for other requests during long work."""

import asyncio
import time

from service.turns import SECONDS, converted


async def test_others_get_turns_during_a_conversion() -> None:
    others = 0

    async def other() -> None:
        nonlocal others
        while True:
            others += 1
            await asyncio.sleep(0)

    def slow(number: int) -> int:
        time.sleep(1.2 * SECONDS)
        return -number

    running = asyncio.create_task(other())
    assert await converted(range(10), slow) == [-number for number in range(10)]
    running.cancel()
    assert others >= 10
