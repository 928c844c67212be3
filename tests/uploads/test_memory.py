"""Bodies that would take many times their size as Python objects are refused in bounded memory."""

import asyncio
import multiprocessing
import resource
from multiprocessing.connection import Connection

import msgspec
import pytest

from service import decoding
from service.errors import ApiError
from service.metadata.schemas import Schemas
from service.queries.projects import ProjectAccess
from service.search import query
from service.uploads.store import checked, store_batch

pytestmark = pytest.mark.slow

SIZE = 66_000_000  # nearly 64 MiB, the limit of an upload
ROW = b'{"text_id":"a","vector":[1,2,3]'


def packed(*names: str) -> bytes:
    """MessagePack up to where an array of very many items begins, below these names."""
    start = b"".join(b"\x81" + msgspec.msgpack.encode(name) for name in names)
    return start + b"\xdd" + SIZE.to_bytes(4)


def packed_row(*names: str) -> bytes:
    """The same inside the first row of a batch."""
    return b"\x81" + msgspec.msgpack.encode("embeddings") + b"\x91" + packed(*names)


JSON_UPLOADS = {
    "rows that are numbers": (b'{"embeddings":[', b"1,", b"1]}"),
    "rows that are lists": (b'{"embeddings":[', b"[],", b"1]}"),
    "rows that are empty": (b'{"embeddings":[', b"{},", b"{}]}"),
    "too many rows": (b'{"embeddings":[', ROW + b"},", b"{}]}"),
    "a vector without end": (b'{"embeddings":[{"text_id":"a","vector":[', b"1,", b"1]}]}"),
    "metadata of lists": (b'{"embeddings":[' + ROW + b',"metadata":{"a":[', b"[],", b"1]}}]}"),
    "an unknown property": (b'{"embeddings":[],"more":[', b"[],", b"1]}"),
    "an unknown property of a row": (b'{"embeddings":[' + ROW + b',"more":[', b"[],", b"1]}]}"),
    "an id that is a list": (b'{"embeddings":[{"text_id":[', b"[],", b"1]}]}"),
}
PACKED_UPLOADS = {
    "rows that are numbers": (packed("embeddings"), b"\x01", b""),
    "rows that are lists": (packed("embeddings"), b"\x90", b""),
    "rows that are empty": (packed("embeddings"), b"\x80", b""),
    "a vector without end": (packed_row("vector"), b"\x01", b""),
    "metadata of lists": (packed_row("metadata", "a"), b"\x90", b""),
    "an unknown property": (packed("more"), b"\x90", b""),
    "an unknown property of a row": (packed_row("more"), b"\x90", b""),
    "an id that is a list": (packed_row("text_id"), b"\x90", b""),
}
JSON_SEARCHES = {
    "numbers": (b'{"vectors":[', b"1,", b"1]}"),
    "a vector without end": (b'{"vector":[', b"1,", b"1]}"),
    "empty vectors": (b'{"vectors":[', b"[],", b"[]]}"),
    "empty texts": (b'{"vectors":[', b'"",', b'""]}'),
    "one long vector of many": (b'{"vectors":[[', b"1,", b"1]]}"),
    "a filter of lists": (b'{"vector":[1],"filter":{"a":[', b"[],", b"1]}}"),
    "what to include": (b'{"vector":[1],"include":[', b'"",', b'""]}'),
}
PACKED_SEARCHES = {
    "numbers": (packed("vectors"), b"\x01", b""),
    "a vector without end": (packed("vector"), b"\x01", b""),
    "empty vectors": (packed("vectors"), b"\x90", b""),
    "a filter of lists": (packed("filter", "a"), b"\x90", b""),
}
CASES = [
    *[("upload", "JSON", name, bomb) for name, bomb in JSON_UPLOADS.items()],
    *[("upload", "MESSAGE_PACK", name, bomb) for name, bomb in PACKED_UPLOADS.items()],
    *[("search", "JSON", name, bomb) for name, bomb in JSON_SEARCHES.items()],
    *[("search", "MESSAGE_PACK", name, bomb) for name, bomb in PACKED_SEARCHES.items()],
]

PROJECT = ProjectAccess(1, "alice", "poems", "owner", "alice", "alice", "tiny", 3, None, None, [], [])


def swallow(kind: str, wire: str, bomb: tuple[bytes, bytes, bytes], says: Connection) -> None:
    """Tells what becomes of a body, and by how many MiB the most memory of this process has grown."""
    start, middle, end = bomb
    body = start + middle * (SIZE // len(middle)) + end

    async def store() -> None:
        await store_batch(None, await checked(Schemas(wait=1), PROJECT, body, getattr(decoding, wire)))  # type: ignore[arg-type]

    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    try:
        asyncio.run(store() if kind == "upload" else query.decode(body, getattr(decoding, wire), 3))  # type: ignore[arg-type]
    except ApiError as error:
        says.send((int(error.status), (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024))


# Each body has a process of its own, forked from one that has imported what is needed.
PROCESSES = multiprocessing.get_context("forkserver")
PROCESSES.set_forkserver_preload([__name__])


@pytest.mark.parametrize(("kind", "wire", "name", "bomb"), CASES)
def test_a_body_that_grows_in_memory_is_refused(
    kind: str, wire: str, name: str, bomb: tuple[bytes, bytes, bytes]
) -> None:
    said, says = PROCESSES.Pipe(duplex=False)
    process = PROCESSES.Process(target=swallow, args=(kind, wire, bomb, says))
    process.start()
    says.close()
    try:
        status, grown = said.recv()  # EOFError when it has ended otherwise
    finally:
        process.join(60)
        said.close()
    assert process.exitcode == 0
    assert status in (400, 413, 422)
    assert 0 <= grown < 200, f"{grown} MiB"  # the body itself, once or twice more
