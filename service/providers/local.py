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

import numpy as np
from numpy.typing import NDArray

from service.errors import Conflict

NAME = "l2-supercat-256"
DIMENSIONS = 256
NO_KNOWN_WORD = "has no word that the model knows"
# Of texts that are looked at together: 3 ms, in which the tokenizer keeps the interpreter to itself.
PIECE_CHARACTERS = 10_000


class LocalModel:
    """The model. It is loaded at the first text, and works in a thread of its own, a piece after the other."""

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="local-model")
        self._loaded: tuple[Any, NDArray[np.float16]] | None = None

    async def embed(self, texts: Sequence[str]) -> tuple[NDArray[np.float32], int]:
        """The vectors of texts, `(n, 256) float32` of unit length, and how many tokens the texts have.

        A text without a known token has a zero vector.

        Texts of others have their turn between two pieces. Raises Conflict where the model is not installed.
        """
        loop = asyncio.get_running_loop()
        sums, tokens = np.zeros((len(texts), DIMENSIONS), np.float32), 0
        for piece in _pieces(texts):
            tokens += await loop.run_in_executor(self._thread, self._add, piece, sums)
        lengths = np.linalg.norm(sums, axis=1, keepdims=True)
        return (sums / np.where(lengths, lengths, 1)).astype(np.float32), tokens

    def close(self) -> None:
        """Ends the thread."""
        self._thread.shutdown(wait=False, cancel_futures=True)

    def _add(self, piece: list[tuple[int, str]], sums: NDArray[np.float32]) -> int:
        """Adds the vectors of the tokens of each part to the sum of its text, and returns how many there are."""
        if self._loaded is None:
            self._loaded = _load()
        tokenizer, weights = self._loaded
        tokens = 0
        for row, part in piece:  # not in a batch, which would take all cores from the service
            numbers = np.array(tokenizer.encode(part, add_special_tokens=False).ids, dtype=np.int64)
            sums[row] += weights[numbers].sum(axis=0, dtype=np.float32)
            tokens += len(numbers)
        return tokens


def _pieces(texts: Sequence[str]) -> Iterator[list[tuple[int, str]]]:
    """The texts with their places, several short ones or a part of a long one at a time."""
    piece: list[tuple[int, str]] = []
    characters = 0
    for row, text in enumerate(texts):
        for part in _parts(text):
            if piece and characters + len(part) > PIECE_CHARACTERS:
                yield piece
                piece, characters = [], 0
            piece.append((row, part))
            characters += len(part)
    if piece:
        yield piece


def _parts(text: str) -> Iterator[str]:
    """A text, cut at spaces where it is long: the tokenizer puts one before each part, so the tokens are the same."""
    while len(text) > PIECE_CHARACTERS:
        end = text.rfind(" ", 0, PIECE_CHARACTERS)
        end = PIECE_CHARACTERS if end <= 0 else end
        yield text[:end]
        text = text[end:].removeprefix(" ")
    yield text


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
