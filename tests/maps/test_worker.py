"""The process that computes a map: what it takes, and what it answers to what is sent."""

import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import msgspec
import numpy as np
import pytest

from service.child import framed, received
from service.maps import worker
from service.maps.messages import Answer, Failed, Layout, Part, Start
from tests.support.processes import ROOT, environment

pytestmark = pytest.mark.slow

MOST_RESIDENT = 600 * 1024 * 1024  # of a projection; all that the process allocates is limited to 1 GiB
RUNS = f"""
import sys
sys.modules['openTSNE'] = None
sys.argv = [{worker.__file__!r}]
exec(compile(open(sys.argv[0]).read(), sys.argv[0], 'exec'), {{'__name__': '__main__'}})
"""


def pieces(rows: int, dimensions: int) -> Iterator[bytes]:
    """A sample as COPY sends it, a thousand rows a piece."""
    random = np.random.default_rng(1)
    kind = [("columns", ">i2"), ("a", ">i4"), ("id", "S8"), ("b", ">i4"), ("sequence", ">i8"), ("c", ">i4")]
    kind += [("order", ">i8"), ("d", ">i4"), ("dimensions", ">i2"), ("unused", ">i2"), ("vector", ">f2", (dimensions,))]  # type: ignore[list-item]
    yield b"PGCOPY\n\xff\r\n\0" + bytes(8)
    for start in range(0, rows, 1000):
        made = np.zeros(min(1000, rows - start), dtype=np.dtype(kind))  # type: ignore[call-overload]
        made["columns"], made["a"], made["b"], made["c"], made["d"] = 4, 8, 8, 8, 4 + 2 * dimensions
        made["id"] = [b"%08d" % row for row in range(start, start + len(made))]
        made["sequence"] = made["order"] = np.arange(start, start + len(made))
        made["dimensions"] = dimensions
        made["vector"] = random.normal(size=(len(made), dimensions))
        yield made.tobytes()
    yield b"\xff\xff"


def run(start: Start, rows: int) -> tuple[list[Any], int]:
    """The answers of a process without the extra, and the most memory that it took."""
    with subprocess.Popen(
        [sys.executable, "-c", RUNS],
        env=environment(PYTHONPATH=str(ROOT)),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(framed(msgspec.msgpack.encode(start)))
        for count in (min(rows, worker.basis_rows(start.dimensions)), rows):
            for piece in pieces(count, start.dimensions):
                process.stdin.write(framed(piece))
            process.stdin.write(framed(b""))
        process.stdin.flush()
        answers: list[Any] = []
        peak = 0
        while not answers or not isinstance(answers[-1], Failed):
            answers.append(msgspec.msgpack.decode(received(process.stdout), type=Answer))
            with open(f"/proc/{process.pid}/status") as status:  # noqa: PTH123
                peak = max([peak, *(int(line.split()[1]) * 1024 for line in status if line.startswith("VmHWM"))])
        process.stdin.close()
    return answers, peak


@pytest.mark.parametrize(("rows", "dimensions"), [(100_000, 384), (20_000, 3072), (2000, 16_000)])
def test_the_memory_of_a_projection_is_bounded(rows: int, dimensions: int) -> None:
    answers, peak = run(Start(rows, dimensions, None, b"", b"", True), rows)
    layout = next(one for one in answers if isinstance(one, Layout))
    points = [text_id for one in answers if isinstance(one, Part) for text_id in one.text_ids]
    assert points == [f"{row:08}" for row in range(rows)]
    assert layout.trust_of_pca is not None
    assert answers[-1] == Failed(worker.NOT_INSTALLED)
    assert 100 * 1024 * 1024 < peak < MOST_RESIDENT, peak


def test_no_more_points_than_the_most() -> None:
    answers, _ = run(Start(worker.MOST_POINTS, 8, None, b"", b"", True), worker.MOST_POINTS + 30_000)
    count = sum(len(one.text_ids) for one in answers if isinstance(one, Part))
    assert count == worker.MOST_POINTS
