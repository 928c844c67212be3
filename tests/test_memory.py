"""Bodies that would take many times their size as Python objects are refused in bounded memory."""

import subprocess
import sys

import pytest

from tests.processes import ROOT

# Each is a body of nearly 64 MiB, the limit of an upload.
ROW = '{"text_id":"a","vector":[1,2,3]'
BOMBS = {
    "rows that are numbers": ('{"embeddings":[', "1,", "1]}"),
    "rows that are lists": ('{"embeddings":[', "[],", "1]}"),
    "rows that are empty": ('{"embeddings":[', "{},", "{}]}"),
    "too many rows": ('{"embeddings":[', ROW + "},", "{}]}"),
    "a vector without end": ('{"embeddings":[{"text_id":"a","vector":[', "1,", "1]}]}"),
    "metadata of lists": ('{"embeddings":[' + ROW + ',"metadata":{"a":[', "[],", "1]}}]}"),
    "an unknown property": ('{"embeddings":[],"more":[', "[],", "1]}"),
    "an unknown property of a row": ('{"embeddings":[' + ROW + ',"more":[', "[],", "1]}]}"),
    "an id that is a list": ('{"embeddings":[{"text_id":[', "[],", "1]}]}"),
}

SCRIPT = """
import asyncio, resource
from service import ingest
from service.auth import Storage
from service.errors import ApiError

project = Storage(1, "alice", "poems", "alice", "tiny", 3, None)
start, middle, end = BOMB
body = (start + middle * (66_000_000 // len(middle)) + end).encode()
del start, middle, end
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
try:
    asyncio.run(ingest.store_json(None, project, body))
except ApiError as error:
    print(int(error.status), (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)
"""


@pytest.mark.parametrize("name", BOMBS)
def test_a_bomb(name: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT.replace("BOMB", repr(BOMBS[name]))],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    status, grown = map(int, done.stdout.split())
    assert status in (413, 422)
    assert grown < 200, f"{grown} MiB"  # the body itself, once or twice more
