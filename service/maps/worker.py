"""The program of the process that computes a map with limited memory.

service.storage.maps starts it, and sends samples of embeddings to its standard input; it has no database and no
environment. It ends when its input is closed.
"""

import os
import resource
import sys
import threading
from collections.abc import Iterable, Iterator
from importlib.util import find_spec
from typing import BinaryIO

import msgspec
import numpy as np
from msgspec.structs import replace
from numpy.typing import NDArray

from service.child import FAILED, limit, received, send, set_limits
from service.maps import neighbours, projection
from service.maps.messages import PART_POINTS, Answer, Failed, Layout, Part, Progress, Start
from service.maps.quality import Trust
from service.maps.samples import Batch, batches

MOST_POINTS = 100_000  # of a map
MEMORY_BYTES = 1024 * 1024 * 1024
BASIS_NUMBERS = 16 * 1024 * 1024  # in the vectors for a projection: 64 MiB
NOT_INSTALLED = "A map by neighbours needs the extra `map` for the indexer: pip install 'embedding-service[map]'."
NO_MEMORY = f"It takes more than {MEMORY_BYTES // 1024**2} MiB of memory."


def basis_rows(dimensions: int) -> int:
    """The number of embeddings for a projection."""
    return min(MOST_POINTS, BASIS_NUMBERS // dimensions)


class _Map:
    """The computation of a map."""

    def __init__(self, start: Start, channel: BinaryIO, answers: BinaryIO) -> None:
        self._start, self._channel, self._answers = start, channel, answers

    def make(self) -> None:
        """Reads the samples, and answers with one or two layouts."""
        self._read()
        self._answer(self._carried())
        if not self._start.renews:
            return
        if find_spec("openTSNE") is None:
            self._say(Failed(NOT_INSTALLED))
            return
        self._answer(neighbours.laid_out(self._coordinates, lambda done: self._say(Progress("neighbours", done))))

    def _read(self) -> None:
        dimensions = self._start.dimensions
        first = _joined(self._sample(), dimensions)
        by_order = np.argsort(first.order, kind="stable")[: basis_rows(dimensions)]
        vectors = first.vectors[by_order]
        self._say(Progress("pca", 0.2))
        kept = self._start.basis
        self._basis = projection.fitted(vectors) if kept is None else projection.stored(kept, dimensions)
        self._say(Progress("pca", 0.5))
        trust = Trust(first.sequences[by_order], vectors, self._start.rows)
        del first, vectors
        variance = projection.Variance(self._basis)
        count, projected = 0, []
        for batch in self._sample():
            if count < MOST_POINTS:  # a few rows may have been added meanwhile
                count += len(batch.text_ids)
                trust.add(batch.vectors)
                variance.add(batch.vectors)
                projected.append(replace(batch, vectors=self._basis.project(batch.vectors)))
        threading.Thread(target=self._end_with_input, daemon=True).start()
        every = _joined(projected, len(self._basis.axes))
        order = np.argsort(every.order, kind="stable")[:MOST_POINTS]
        self._ids = [every.text_ids[place] for place in order.tolist()]
        self._sequences, self._coordinates = every.sequences[order], every.vectors[order]
        self._plane = projection.in_plane(self._coordinates)
        self._explained = variance.explained(self._plane)
        trust.finish(every.sequences, order)
        self._trust, self._trust_of_pca = trust, trust.of(self._plane)

    def _sample(self) -> Iterator[Batch]:
        return batches(iter(lambda: received(self._channel), b""), self._start.dimensions)

    def _carried(self) -> NDArray[np.float32] | None:
        """The old layout by neighbours, with places for new rows; None without one."""
        known = np.frombuffer(self._start.sequences, dtype="<i8")
        positions = np.frombuffer(self._start.positions, dtype="<f4").reshape(-1, 2)
        _, kept, places = np.intersect1d(self._sequences, known, return_indices=True)
        if not len(kept):
            return None
        made = np.empty((len(self._sequences), 2), dtype=np.float32)
        made[kept] = positions[places]
        is_new = np.ones(len(made), bool)
        is_new[kept] = False
        made[is_new] = neighbours.placed(self._coordinates[is_new], self._coordinates[kept], made[kept])
        return made

    def _answer(self, by_neighbours: NDArray[np.float32] | None) -> None:
        starts = range(0, len(self._ids), PART_POINTS)
        trust = None if by_neighbours is None else self._trust.of(by_neighbours)
        has = by_neighbours is not None
        basis, explained = self._basis.to_bytes(), self._explained
        self._say(Layout(len(starts), basis, has, explained, self._trust.sampled, self._trust_of_pca, trust))
        for start in starts:
            some = slice(start, start + PART_POINTS)
            self._say(
                Part(
                    self._ids[some],
                    self._sequences[some].astype("<i8").tobytes(),
                    self._plane[some].astype("<f4").tobytes(),
                    None if by_neighbours is None else by_neighbours[some].astype("<f4").tobytes(),
                )
            )

    def _say(self, answer: Answer) -> None:
        send(self._answers, msgspec.msgpack.encode(answer))

    def _end_with_input(self) -> None:
        """Exits when the indexer has ended, even during long work."""
        self._channel.read(1)
        os._exit(0)


def _joined(some: Iterable[Batch], dimensions: int) -> Batch:
    every = list(some)
    return Batch(
        [text_id for one in every for text_id in one.text_ids],
        np.concatenate([np.empty(0, np.int64), *(one.sequences for one in every)]),
        np.concatenate([np.empty(0, np.int64), *(one.order for one in every)]),
        np.concatenate([np.empty((0, dimensions), np.float32), *(one.vectors for one in every)]),
    )


def main() -> None:
    """Computes one map."""
    set_limits()
    limit(resource.RLIMIT_DATA, MEMORY_BYTES)
    channel, answers = sys.stdin.buffer, sys.stdout.buffer
    try:
        _Map(msgspec.msgpack.decode(received(channel), type=Start), channel, answers).make()
    except MemoryError:
        send(answers, msgspec.msgpack.encode(Failed(NO_MEMORY)))
    except BaseException:
        os._exit(FAILED)
    os._exit(0)  # without waiting for the reading thread


if __name__ == "__main__":
    main()
