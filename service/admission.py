"""Admission control: fair sharing of limited resources among callers (connections, uploads, memory for bodies).

A caller is a user, the admin, or the group of all clients without a key.
"""

import asyncio
import contextlib
import math
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from contextvars import ContextVar

from service.errors import Busy

ANONYMOUS = ""
# The caller of the current request: the hash of its key. Not set in background work.
caller: ContextVar[str] = ContextVar("caller", default=ANONYMOUS)
SHORT_BYTES = 64 * 1024  # of memory for each request need no admission


class Shares:
    """A resource of `total` units, at most `part` of them for one caller. Waiting callers are served in turn.

    The last `reserve` units are for callers that hold none. A caller waits at most `wait` seconds; then Busy is raised
    with "Too many {what}".
    """

    def __init__(self, total: int, *, part: int, reserve: int, wait: float, what: str) -> None:
        self.part = max(1, min(part, total))
        self._free, self._reserve, self._wait, self._what = total, reserve, wait, what
        self._held: dict[str, int] = {}
        self._waiting: dict[str, deque[tuple[int, asyncio.Future[None]]]] = {}

    async def acquire(self, who: str, amount: int = 1, *, patient: bool = False) -> int:
        """Takes units, at most the caller's part, and returns their number for `release`.

        A `patient` caller waits without limit. Raises Busy.
        """
        amount = min(amount, self.part)
        if who not in self._waiting and self._is_free(who, amount):
            self._take(who, amount)
        else:
            await self._wait_for(who, amount, None if patient else self._wait)
        return amount

    @asynccontextmanager
    async def held(self, who: str, amount: int = 1, *, patient: bool = False) -> AsyncIterator[None]:
        """Holds units during the block, as with `acquire`."""
        amount = await self.acquire(who, amount, patient=patient)
        try:
            yield
        finally:
            self.release(who, amount)

    def release(self, who: str, amount: int = 1) -> None:
        """Returns units."""
        if not amount:
            return
        self._free += amount
        self._held[who] -= amount
        if not self._held[who]:
            del self._held[who]
        if who in self._waiting:
            self._waiting[who] = self._waiting.pop(who)  # to the end of the queue
        if self._waiting:
            self._hand_out()

    def _is_free(self, who: str, amount: int) -> bool:
        held = self._held.get(who, 0)
        return held + amount <= self.part and amount <= self._free - (self._reserve if held else 0)

    def _take(self, who: str, amount: int) -> None:
        self._free -= amount
        self._held[who] = self._held.get(who, 0) + amount

    async def _wait_for(self, who: str, amount: int, seconds: float | None) -> None:
        turn = asyncio.get_running_loop().create_future()
        mine = (amount, turn)
        self._waiting.setdefault(who, deque()).append(mine)
        try:
            async with asyncio.timeout(seconds):
                await turn
        except BaseException as error:
            turn.cancel()
            if turn.cancelled():
                with contextlib.suppress(KeyError, ValueError):  # already removed
                    self._waiting[who].remove(mine)
                self._hand_out()  # smaller requests may have queued behind it
            else:
                self.release(who, amount)  # granted at the moment of the timeout
            if isinstance(error, TimeoutError):
                raise self._busy(who, amount) from None
            raise

    def _hand_out(self) -> None:
        """Gives free units to waiting callers, one request each in turn."""
        is_any = True
        while is_any:
            is_any = False
            for who in list(self._waiting):
                line = self._waiting[who]
                while line and line[0][1].done():
                    line.popleft()  # cancelled
                if not line:
                    del self._waiting[who]
                elif self._is_free(who, line[0][0]):
                    amount, turn = line.popleft()
                    self._waiting[who] = self._waiting.pop(who)  # to the end of the queue
                    self._take(who, amount)
                    turn.set_result(None)
                    is_any = True

    def _busy(self, who: str, amount: int) -> Busy:
        limit = ""
        if self._held.get(who, 0) + amount > self.part:
            whose = "all callers without a key together" if who == ANONYMOUS else "a caller"
            limit = f": {whose} may have at most {self.part:,}"
        return Busy(f"Too many {self._what}{limit}. The request was not executed; retry later.")


def for_callers(total: int, share: float, *, wait: float, what: str) -> Shares:
    """A resource of which a caller may have this share; a fifth is reserved, unless a caller may have all."""
    return Shares(total, part=math.ceil(share * total), reserve=total // 5 if share < 1 else 0, wait=wait, what=what)
