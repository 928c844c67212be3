"""The program of a process that applies users' JSON Schemas to metadata with limited time and memory.

service.metadata.schemas sends jobs, and gets two answers to each: the reason why the schema is not usable, if so, and
what the documents violate. The process ends when a job exceeds its CPU time or memory, and when its input is closed.
"""

import contextlib
import os
import resource
import signal
import sys
import time
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

import jsonschema_rs
import msgspec

from service.child import FAILED, limit, received, send, set_limits

MEMORY_BYTES = 128 * 1024 * 1024  # that a job may add to the process
FULL_BYTES = 64 * 1024 * 1024  # of growth, mostly by compiled schemas, after which the process is replaced
MAX_COMPILED = 256
MAX_PATTERN_BYTES = 2 * 1024 * 1024  # of a compiled pattern: `^.{1,1000}$` takes half of it
MAX_MESSAGE = 300  # characters
COMPILE_SECONDS = 2.0


class Job(msgspec.Struct, array_like=True):
    """A schema, documents as JSON, and the limit of their CPU time in seconds."""

    schema: str
    documents: list[bytes]
    seconds: float


class Fault(msgspec.Struct, frozen=True, array_like=True):
    """A violation of the schema: `path` is like `.author.name` or `[2]`, empty for the whole."""

    path: str
    message: str


class Applied(msgspec.Struct, array_like=True):
    """The first fault of each document, the CPU time in seconds, and whether to replace the process."""

    faults: list[Fault | None]
    seconds: float
    is_full: bool


class BadSchema(Exception):
    """The text is not an acceptable JSON Schema; the message has the reason."""


@lru_cache(MAX_COMPILED)
def _compiled(text: str) -> Any:
    """The validator of a schema. Raises BadSchema."""
    with _at_most(COMPILE_SECONDS):
        return _compile(text)


def _compile(text: str) -> Any:
    try:
        schema = msgspec.json.decode(text)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise BadSchema("it is not JSON, or nested very deeply") from None
    if not isinstance(schema, dict | bool):
        raise BadSchema("a JSON Schema is an object, true or false")
    try:
        # Masked, because values in messages may have any size. Patterns of this engine take linear time.
        patterns = jsonschema_rs.RegexOptions(size_limit=MAX_PATTERN_BYTES)
        return jsonschema_rs.validator_for(
            schema, retriever=_refuse, mask="the value", pattern_options=patterns, validate_formats=True
        )
    except jsonschema_rs.ValidationError as error:
        path = _path(error.instance_path)
        if error.message.endswith('is not a "regex"'):
            raise BadSchema(f"{path}: is not a regular expression without look-around, or is too large") from None
        raise BadSchema(f"{path}: {_cut(error.message)}" if path else _cut(error.message)) from None
    except (jsonschema_rs.ReferencingError, ValueError) as error:
        raise BadSchema(_cut(str(error).splitlines()[0])) from None


def _refuse(uri: str) -> Any:
    raise ValueError(f"a $ref must stay in the document; {uri[:200]} is not followed")


def _fault(validator: Any, document: bytes) -> Fault | None:
    """The first violation in a document, if any."""
    try:
        validator.validate(msgspec.json.decode(document))
    except jsonschema_rs.ValidationError as error:
        # Cut: both may be as long as the schema or the document.
        return Fault(_cut(_path(error.instance_path)), _cut(error.message))
    except (msgspec.DecodeError, ValueError, RecursionError) as error:  # such as an integer of thousands of digits
        return Fault("", f"cannot be checked: {_cut(str(error))}")
    return None


def _path(steps: list[str | int]) -> str:
    return "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in steps)


def _cut(text: str) -> str:
    return text if len(text) <= MAX_MESSAGE else text[:MAX_MESSAGE] + "…"


@contextlib.contextmanager
def _at_most(seconds: float) -> Iterator[None]:
    """The kernel kills the process if the block takes more than `seconds` of CPU time."""
    signal.setitimer(signal.ITIMER_PROF, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)


def _pages() -> tuple[int, int]:
    """The virtual and the resident size of this process in bytes; zeros without /proc."""
    with contextlib.suppress(OSError):
        size, resident = Path("/proc/self/statm").read_text().split()[:2]
        return int(size) * resource.getpagesize(), int(resident) * resource.getpagesize()
    return 0, 0


def _work() -> None:
    decoder, resident_at_start = msgspec.msgpack.Decoder(Job), _pages()[1]
    encode, answers = msgspec.msgpack.encode, sys.stdout.buffer
    while True:
        if size := _pages()[0]:
            limit(resource.RLIMIT_AS, size + MEMORY_BYTES)
        job = decoder.decode(received(sys.stdin.buffer))
        try:
            validator = _compiled(job.schema)
        except BadSchema as error:
            send(answers, encode(str(error)))
            continue
        send(answers, encode(None))
        begin = time.process_time()
        with _at_most(job.seconds):
            faults = [_fault(validator, document) for document in job.documents]
        is_full = _pages()[1] - resident_at_start > FULL_BYTES
        send(answers, encode(Applied(faults, time.process_time() - begin, is_full)))


def main() -> None:
    """Works until the input is closed."""
    set_limits()
    signal.signal(signal.SIGPROF, signal.SIG_DFL)
    try:
        _work()
    except (OSError, EOFError):
        os._exit(0)  # the service has ended
    except BaseException:  # a MemoryError, or a panic of a library
        os._exit(FAILED)


if __name__ == "__main__":
    main()
