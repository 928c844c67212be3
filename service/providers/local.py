"""The model inside this service: WordLlama's `l2_supercat_256`, a vector of 256 halves for each of 32,000 tokens.

A text's vector is the mean of those of its tokens, made of unit length. The weights (16 MB) and the tokenizer are files
of the package `wordllama` (MIT, extra `local`), which is not imported: its own way of loading them wants to download.
They take 67 MB, and a tenth of a second to load, at the first text.

Source: the package's `inference.py` and `RESULTS.md`, version 0.4.0, read 2026-11-27.
"""

import asyncio
import importlib.util
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from service.errors import Conflict

NAME = "l2-supercat-256"
DIMENSIONS = 256
PIECE_CHARACTERS = 100_000  # of texts that are embedded together: some 15 MB of tokens, for a tenth of a second


class Embedded(msgspec.Struct, frozen=True):
    """Vectors of texts, in order: `halves` are `(n, dimensions) float16`, and how many tokens the texts have."""

    halves: NDArray[np.float16]
    tokens: int


class LocalModel:
    """The model. It is loaded at the first text, and works in a thread of its own, a piece after the other."""

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="local-model")
        self._loaded: tuple[Any, NDArray[np.float16]] | None = None

    async def embed(self, texts: Sequence[str]) -> Embedded:
        """The vectors of texts, of unit length; zero for a text without a known token.

        Texts of others have their turn between two pieces. Raises Conflict where the model is not installed.
        """
        loop = asyncio.get_running_loop()
        pieces = [await loop.run_in_executor(self._thread, self._piece, piece) for piece in _pieces(texts)]
        halves = [piece.halves for piece in pieces] or [np.empty((0, DIMENSIONS), np.float16)]
        return Embedded(np.concatenate(halves), sum(piece.tokens for piece in pieces))

    def close(self) -> None:
        """Ends the thread."""
        self._thread.shutdown(wait=False, cancel_futures=True)

    def _piece(self, texts: Sequence[str]) -> Embedded:
        if self._loaded is None:
            self._loaded = _load()
        tokenizer, weights = self._loaded
        halves, tokens = np.zeros((len(texts), DIMENSIONS), np.float16), 0
        for row, text in enumerate(texts):  # not in a batch, which would take all cores from the service
            encoding = tokenizer.encode(text, add_special_tokens=False)
            # A token that is repeated is looked up once: a long text has no more different ones than there are.
            numbers, counts = np.unique(np.array(encoding.ids, dtype=np.int64), return_counts=True)
            tokens += int(counts.sum())
            summed = counts.astype(np.float32) @ weights[numbers].astype(np.float32)
            if length := float(np.linalg.norm(summed)):
                halves[row] = summed / length
        return Embedded(halves, tokens)


def _pieces(texts: Sequence[str]) -> Iterator[list[str]]:
    piece: list[str] = []
    characters = 0
    for text in texts:
        if piece and characters + len(text) > PIECE_CHARACTERS:
            yield piece
            piece, characters = [], 0
        piece.append(text)
        characters += len(text)
    if piece:
        yield piece


def _load() -> tuple[Any, NDArray[np.float16]]:
    """The tokenizer, and the vectors of its tokens, `(32,000, 256) float16`."""
    package = importlib.util.find_spec("wordllama")
    if package is None or package.origin is None:
        raise Conflict("This service has no local model: its operator can install the extra `local`.")
    from safetensors.numpy import load_file  # they are installed with the model only
    from tokenizers import Tokenizer

    folder = Path(package.origin).parent
    tokenizer = Tokenizer.from_file(str(folder / "tokenizers" / "l2_supercat_tokenizer_config.json"))
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer, load_file(folder / "weights" / "l2_supercat_256.safetensors")["embedding.weight"]
