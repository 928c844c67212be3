"""What clients were told, and whether it is so.

A text has versions, and its content follows from the version. For each text the ledger has the versions that may be
there: the acknowledged one, or, while it is not known what became of an attempt, that one too. A client tries again
until it knows, before it goes on to the next version.
"""

import base64
import random
from typing import Any

import httpx2
import msgspec
import numpy as np

DIMENSIONS = 8


def content(text_id: str, version: int) -> dict[str, Any]:
    """The embedding that a text is in a version."""
    numbers = random.Random(f"{text_id} {version}")
    return {
        "text_id": text_id,
        "vector": [numbers.randint(-100, 100) / 8 or 1.0 for _ in range(DIMENSIONS)],  # as halves the same
        "text": f"{text_id} in version {version}",
        "metadata": {"version": version},
    }


class Outcome(msgspec.Struct):
    """How it ended: texts of which something was acknowledged, and what is wrong with how many of them."""

    acknowledged: int
    lost: int = 0
    altered: int = 0
    unsent: int = 0

    @property
    def is_right(self) -> bool:
        """Whether everything is as it was acknowledged."""
        return not (self.lost or self.altered or self.unsent)


class Ledger:
    """The versions that each text may have now; None: it may be missing."""

    def __init__(self) -> None:
        self.allowed: dict[str, set[int | None]] = {}
        self.acknowledged: set[str] = set()

    def attempt(self, versions: dict[str, int | None]) -> None:
        """Something is sent."""
        for text_id, version in versions.items():
            self.allowed.setdefault(text_id, {None}).add(version)

    def acknowledge(self, versions: dict[str, int | None]) -> None:
        """Something is stored, or deleted."""
        for text_id, version in versions.items():
            self.allowed[text_id] = {version}
            self.acknowledged.add(text_id)

    def settled(self, text_id: str) -> int | None:
        """The version in which a text must be there now; None when it may be missing, or be in another."""
        versions = self.allowed.get(text_id, set())
        return next(iter(versions)) if len(versions) == 1 else None

    async def compare(self, api: httpx2.AsyncClient, project: str) -> Outcome:
        """Reads all that is stored, and compares."""
        outcome = Outcome(len(self.acknowledged))
        found: dict[str, dict[str, Any]] = {}
        after = ""
        while True:
            answer = await api.get(f"/v1/embeddings/{project}", params={"limit": 200, "after": after})
            page = answer.raise_for_status().json()["embeddings"]
            if not page:
                break
            found |= {one["text_id"]: one for one in page}
            after = page[-1]["text_id"]
        for text_id, versions in self.allowed.items():
            stored = found.pop(text_id, None)
            if stored is None:
                outcome.lost += None not in versions
                continue
            wanted = [content(text_id, version) for version in versions if version is not None]
            outcome.altered += not any(all(stored.get(name) == one[name] for name in one) for one in wanted)
        outcome.unsent = len(found)
        return outcome


def packed(rows: list[dict[str, Any]]) -> bytes:
    """Rows as a batch of MessagePack with raw float32."""
    batch = [{**row, "vector": np.array(row["vector"], dtype="<f4").tobytes()} for row in rows]
    return msgspec.msgpack.encode({"embeddings": batch})


def plain(rows: list[dict[str, Any]]) -> bytes:
    """Rows as a batch of JSON, each second vector as base64 of float32."""
    batch = [
        {**row, "vector": base64.b64encode(np.array(row["vector"], dtype="<f4").tobytes()).decode()}
        if number % 2
        else row
        for number, row in enumerate(rows)
    ]
    return msgspec.json.encode({"embeddings": batch})
