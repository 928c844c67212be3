"""Fair sharing of limited resources among callers: connections, turns of uploads, memory for bodies.

A caller is a user, the admin, or all clients without a key together.
"""

import asyncio
import math
from collections import deque
from contextvars import ContextVar

from service.errors import Busy

ANONYMOUS = ""
# The caller, in the task of a request: the hash of a key, or ANONYMOUS. Not set where the service works for itself.
caller: ContextVar[str] = ContextVar("caller")


class Shares:
    """A resource of `total` units, of which a caller has `part` at most. Waiting callers get free units in turn.

    The last `reserve` units are for callers that hold none. A caller waits for `wait` seconds at most; then Busy says
    "Too many {what} at once".
    """

    def __init__(self, total: int, *, part: int, reserve: int, wait: float, what: str) -> None:
        self.part = max(1, min(part, total))
        self._free, self._reserve, self._wait, self._what = total, reserve, wait, what
        self._held: dict[str, int] = {}
        self._waiting: dict[str, deque[tuple[int, asyncio.Future[None]]]] = {}

    async def acquire(self, who: str, amount: int = 1, *, patient: bool = False) -> int:
        """Takes units, at most the caller's part, and returns their number, to be given back by `release`.

        A `patient` caller waits as long as it takes. Raises Busy.
        """
        amount = min(amount, self.part)
        if who not in self._waiting and self._is_free(who, amount):
            self._take(who, amount)
        else:
            await self._wait_for(who, amount, None if patient else self._wait)
        return amount

    def release(self, who: str, amount: int = 1) -> None:
        """Gives units back."""
        if not amount:
            return
        self._free += amount
        self._held[who] -= amount
        if not self._held[who]:
            del self._held[who]
        if who in self._waiting:
            self._waiting[who] = self._waiting.pop(who)  # behind all others
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
            if turn.done() and not turn.cancelled():
                self.release(who, amount)  # granted in the moment of the timeout
            else:
                self._forget(who, mine)
            if isinstance(error, TimeoutError):
                raise self._busy(who, amount) from None
            raise

    def _forget(self, who: str, mine: tuple[int, asyncio.Future[None]]) -> None:
        line = self._waiting.get(who, deque())
        if mine in line:
            line.remove(mine)
            if not line:
                del self._waiting[who]
        self._hand_out()  # smaller requests may have waited behind it

    def _hand_out(self) -> None:
        """Gives free units to waiting callers, one after the other."""
        is_any = True
        while is_any:
            is_any = False
            for who in list(self._waiting):
                line = self._waiting[who]
                while line and line[0][1].done():
                    line.popleft()  # cancelled in this moment
                if not line:
                    del self._waiting[who]
                elif self._is_free(who, line[0][0]):
                    amount, turn = line.popleft()
                    del self._waiting[who]
                    if line:
                        self._waiting[who] = line  # at the end
                    self._take(who, amount)
                    turn.set_result(None)
                    is_any = True

    def _busy(self, who: str, amount: int) -> Busy:
        if self._held.get(who, 0) + amount > self.part:
            whose = "callers without a key together have" if who == ANONYMOUS else "a caller has"
            return Busy(f"Too many {self._what} at once: {whose} {self.part:,} at most. Nothing was changed.")
        return Busy(f"Too many {self._what} at once. Nothing was changed.")


def part_of(total: int, share: float) -> int:
    """The most units of a caller: its share rounded up, one at least."""
    return max(1, math.ceil(share * total))


def reserve_of(total: int, share: float) -> int:
    """The units that are kept for callers that hold none: a fifth, unless a caller may have all."""
    return total // 5 if share < 1 else 0
