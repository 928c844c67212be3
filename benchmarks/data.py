"""What is uploaded and searched for: real embeddings or synthetic ones, and how they are sent."""

import json
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

QUERIES = 200
LIMIT = 10
BATCH = 500
WORDS = ["the", "quick", "brown", "fox", "jumps", "over", "lazy", "dog", "while", "many", "small", "models", "read"]


class Data(msgspec.Struct):
    """`vectors` (n, dimensions) float16, `queries` (200, dimensions) float16, `neighbours` (200, 10) row numbers."""

    kind: str
    vectors: NDArray[np.float16]
    queries: NDArray[np.float16]
    neighbours: NDArray[np.int64]
    ids: list[str]
    metadata: list[dict[str, Any]]

    def text(self, row: int) -> str:
        """About 1 KB of words, always the same for a row."""
        return " ".join(WORDS[(row * 7 + place * place) % len(WORDS)] for place in range(220))

    def as_json(self, first: int, last: int) -> list[bytes]:
        """The rows as batches of JSON, with the shortest decimals of the halves."""
        rows = [
            {
                "text_id": self.ids[row],
                "vector": [float(str(half)) for half in self.vectors[row]],
                "text": self.text(row),
                "metadata": self.metadata[row],
            }
            for row in range(first, last)
        ]
        return [
            msgspec.json.encode({"embeddings": rows[start : start + BATCH]}) for start in range(0, len(rows), BATCH)
        ]

    def as_packed(self, first: int, last: int) -> list[bytes]:
        """The rows as batches of MessagePack with raw float16."""
        rows = [
            {
                "text_id": self.ids[row],
                "vector": self.vectors[row].astype("<f2").tobytes(),
                "text": self.text(row),
                "metadata": self.metadata[row],
            }
            for row in range(first, last)
        ]
        return [
            msgspec.msgpack.encode({"encoding": "f2", "embeddings": rows[start : start + BATCH]})
            for start in range(0, len(rows), BATCH)
        ]

    def searches(self) -> list[bytes]:
        """A search for each query, as MessagePack."""
        return [
            msgspec.msgpack.encode({"vector": one.astype("<f2").tobytes(), "encoding": "f2"}) for one in self.queries
        ]


def load(folder: Path, rows: int, dimensions: int) -> Data:
    """The real embeddings where they are, which have 384 dimensions and are 20,000, else clustered synthetic ones."""
    if dimensions == 384 and (folder / "minilm-384.npz").exists():
        stored = np.load(folder / "minilm-384.npz")
        lines = [json.loads(line) for line in (folder / "minilm-384.jsonl").read_text().splitlines()[:rows]]
        vectors, queries = stored["vectors"][:rows], stored["queries"][:QUERIES]
        ids, metadata, kind = [line["text_id"] for line in lines], [line["metadata"] for line in lines], "real"
        if rows >= len(stored["vectors"]):
            neighbours = stored["neighbours"][:QUERIES, :LIMIT].astype(np.int64)
            return Data(kind, vectors, queries, neighbours, ids, metadata)
    else:
        random = np.random.default_rng(1)
        centres = random.normal(size=(200, dimensions))
        points = centres[random.integers(0, 200, rows + QUERIES)] + random.normal(size=(rows + QUERIES, dimensions))
        halves = (points / np.linalg.norm(points, axis=1, keepdims=True)).astype(np.float16)
        vectors, queries, kind = halves[:rows], halves[rows:], "synthetic"
        ids = [f"text-{row}" for row in range(rows)]
        metadata = [
            {
                "version": "1.0",
                "year": 2000 + row % 25,
                "month": row % 12 + 1,
                "author": f"author-{row % 97}",
                "language": "en",
                "page": row,
            }
            for row in range(rows)
        ]
    unit = vectors.astype(np.float32) / np.linalg.norm(vectors.astype(np.float32), axis=1, keepdims=True)
    neighbours = np.argsort(-(queries.astype(np.float32) @ unit.T), axis=1)[:, :LIMIT].astype(np.int64)
    return Data(kind, vectors, queries, neighbours, ids, metadata)
