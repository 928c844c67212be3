"""Digests as docs/API.md defines them, for tests to compare with."""

import hashlib
import struct
from typing import Any

import numpy as np


def digest(text_id: str, letter: str, content: bytes) -> int:
    return int.from_bytes(hashlib.sha256(text_id.encode() + b"\0" + letter.encode() + content).digest()[:8], "big")


def vector(text_id: str, numbers: Any) -> int:
    halves = np.asarray(numbers, dtype=">f2")
    return digest(text_id, "v", struct.pack(">HH", len(halves), 0) + halves.tobytes())


def text(text_id: str, content: str) -> int:
    return digest(text_id, "t", content.encode())


def metadata(text_id: str, as_postgresql_writes_it: str) -> int:
    return digest(text_id, "m", as_postgresql_writes_it.encode())


def bucket(text_id: str) -> int:
    return int(hashlib.sha256(text_id.encode()).hexdigest()[:3], 16)
