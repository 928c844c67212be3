"""Validation of metadata with users' JSON Schemas. No SQL, no HTTP.

The cost of a schema cannot be determined from its text. So schemas are compiled and applied in separate processes
(service.metadata.worker) with limits of time and memory.
"""

import asyncio
import signal
from collections.abc import Sequence

import msgspec

from service.admission import Shares
from service.child import FAILED
from service.children import Child
from service.errors import Unavailable
from service.grouping import grouped
from service.metadata import worker
from service.metadata.worker import COMPILE_SECONDS, MEMORY_BYTES, Applied, BadSchema, Fault, Job
from service.observability.logs import logger

__all__ = ["EMPTY", "BadSchema", "Fault", "Schemas", "TooCostly"]

MAX_SCHEMA_BYTES = 64 * 1024
BATCH_SECONDS = 5.0  # of processor time, for all documents of a batch
STUCK_SECONDS = 60.0  # of wall-clock time, after which a process is killed
PROCESSES = 2
OF_ONE_OWNER = PROCESSES // 2  # the rest is for the schemas of others
SLOW_SECONDS = 1.0  # owners with slower jobs share the part of a single owner, for SLOW_FOR_SECONDS
SLOW_FOR_SECONDS = 60.0
_SLOW = ""  # the common name of slow owners
JOB_BYTES = 256 * 1024  # of documents in one job
JOB_DOCUMENTS = 1000
EMPTY = b"{}"  # for absent metadata

_UNAVAILABLE = "Metadata cannot be checked at the moment; try again."
_OUT_OF_TIME = -signal.SIGPROF
# Exit codes after running out of memory, for the heap or the stack.
_OUT_OF_MEMORY = (-signal.SIGABRT, -signal.SIGSEGV, -signal.SIGBUS, -signal.SIGILL, FAILED)


class TooCostly(Exception):
    """Applying a schema to documents `first` to `last` exceeds a limit; the message names it."""

    def __init__(self, limit: str, first: int, last: int) -> None:
        super().__init__(f"the project's metadata schema takes {limit} to check this")
        self.first, self.last = first, last


class _Ended(Exception):
    """The process ended during a job with this exit code, before or after the schema was compiled."""

    def __init__(self, code: int, *, is_compiled: bool) -> None:
        self.code, self.is_compiled = code, is_compiled


class Schemas:
    """Applies schemas in a few processes, started on demand.

    Owners of projects share the processes fairly; a check waits at most `wait` seconds. Owners with slow schemas share
    the part of a single owner.
    """

    def __init__(self, *, wait: float) -> None:
        self._shares = Shares(PROCESSES, part=OF_ONE_OWNER, reserve=0, wait=wait, what="checks of metadata")
        self._idle: list[Child] = []
        self._slow: dict[str, float] = {}  # until which time

    async def check(self, owner: str, schema: str) -> None:
        """Raises BadSchema for an unusable schema, and Busy or Unavailable if it cannot be checked."""
        await self.faults(owner, schema, [])

    async def faults(
        self, owner: str, schema: str, documents: Sequence[bytes | msgspec.Raw], *, patient: bool = False
    ) -> list[Fault | None]:
        """The first fault of each document (JSON), or None.

        Raises BadSchema, TooCostly, Busy (unless `patient`) and Unavailable.
        """
        if len(schema.encode()) > MAX_SCHEMA_BYTES:
            raise BadSchema(f"a schema may have at most {MAX_SCHEMA_BYTES} bytes")
        found: list[Fault | None] = []
        seconds = BATCH_SECONDS
        pieces = grouped(documents, lambda one: len(memoryview(one)), JOB_BYTES, JOB_DOCUMENTS)
        for some in pieces if documents else [[]]:
            sharing = _SLOW if self._is_slow(owner) else owner
            try:
                async with self._shares.held(sharing, patient=patient):
                    applied = await self._do(Job(schema, [bytes(one) for one in some], seconds))
            except _Ended as ended:
                self._note_slow(owner)
                limit = _limit(ended)
                if not ended.is_compiled:
                    raise BadSchema(f"it takes {limit} to compile") from None
                raise TooCostly(limit, len(found), len(found) + len(some) - 1) from None
            if applied.seconds > SLOW_SECONDS:
                self._note_slow(owner)
            found += applied.faults
            seconds = max(seconds - applied.seconds, 0.001)
        return found

    async def _do(self, job: Job) -> Applied:
        """Runs a job in a process; retries once if the process was killed from outside."""
        for is_last in (False, True):
            process = self._idle.pop() if self._idle else await Child.start(worker.__file__)
            is_reusable = False
            try:
                applied = await _applied(process, job)
                is_reusable = not applied.is_full
                return applied
            except BadSchema:
                is_reusable = True
                raise
            except _Ended as ended:
                if is_last or ended.code == _OUT_OF_TIME or ended.code in _OUT_OF_MEMORY:
                    raise
                logger.warning("A process that checks metadata was killed.", code=ended.code)
            finally:
                if is_reusable:
                    self._idle.append(process)
                else:  # also after a cancellation
                    await process.aclose()
        raise AssertionError

    def _is_slow(self, owner: str) -> bool:
        return self._slow.get(owner, 0.0) > asyncio.get_running_loop().time()

    def _note_slow(self, owner: str) -> None:
        now = asyncio.get_running_loop().time()
        self._slow = {name: until for name, until in self._slow.items() if until > now}
        self._slow[owner] = now + SLOW_FOR_SECONDS

    async def aclose(self) -> None:
        """Ends all processes."""
        while self._idle:
            await self._idle.pop().aclose()


async def _applied(process: Child, job: Job) -> Applied:
    """Runs a job. Raises BadSchema, _Ended and Unavailable."""
    is_compiled = False
    try:
        async with asyncio.timeout(STUCK_SECONDS):
            await process.send(msgspec.msgpack.encode(job))
            if refusal := msgspec.msgpack.decode(await process.receive(), type=str | None):
                raise BadSchema(refusal)
            is_compiled = True
            return msgspec.msgpack.decode(await process.receive(), type=Applied)
    except TimeoutError:
        logger.warning("A process that checks metadata is stuck.", seconds=STUCK_SECONDS)
        raise Unavailable(_UNAVAILABLE) from None
    except (OSError, EOFError):  # the process has ended
        raise _Ended(await process.aclose(), is_compiled=is_compiled) from None


def _limit(ended: _Ended) -> str:
    """The limit that a job exceeded. Raises Unavailable if the process was killed from outside."""
    if ended.code in _OUT_OF_MEMORY:
        return f"more than {MEMORY_BYTES // 1024**2} MiB of memory"
    if ended.code != _OUT_OF_TIME:
        logger.error("Processes that check metadata are killed repeatedly.", code=ended.code)
        raise Unavailable(_UNAVAILABLE)
    return f"more than {BATCH_SECONDS if ended.is_compiled else COMPILE_SECONDS:g} seconds"
