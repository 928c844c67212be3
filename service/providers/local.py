"""The local model: WordLlama's `l2_supercat_256`, with a vector of 256 halves for each of 32,000 tokens.

The vector of a text is the normalized mean of its tokens' vectors. The weights (16 MB) and the tokenizer are files of
the package `wordllama` (MIT, extra `local`), which is not imported, because its loader tries to download them. They
are loaded with the first text, in a tenth of a second, and take 67 MB.

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
from service.grouping import grouped

NAME = "l2-supercat-256"
DIMENSIONS = 256
NO_KNOWN_WORD = "has no word that the model knows"
# Of texts in one step: 3 ms, during which the tokenizer holds the GIL.
PIECE_CHARACTERS = 10_000


class LocalModel:
    """The model. It is loaded with the first text, and runs in its own thread."""

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="local-model")
        self._loaded: tuple[Any, NDArray[np.float16]] | None = None

    async def embed(self, texts: Sequence[str]) -> tuple[NDArray[np.float32], int]:
        """The vectors of texts, `(n, 256) float32` of unit length, and the number of their tokens.

        The vector of a text without a known token is zero. Raises Conflict if the model is not installed.
        """
        loop = asyncio.get_running_loop()
        sums, tokens = np.zeros((len(texts), DIMENSIONS), np.float32), 0
        parts = ((row, part) for row, text in enumerate(texts) for part in _parts(text))
        for piece in grouped(parts, lambda one: len(one[1]), PIECE_CHARACTERS):
            tokens += await loop.run_in_executor(self._thread, self._add, piece, sums)
        lengths = np.linalg.norm(sums, axis=1, keepdims=True)
        return (sums / np.where(lengths, lengths, 1)).astype(np.float32), tokens

    def close(self) -> None:
        """Ends the thread."""
        self._thread.shutdown(wait=False, cancel_futures=True)

    def _add(self, piece: list[tuple[int, str]], sums: NDArray[np.float32]) -> int:
        """Adds the vectors of the tokens of each part to the sum of its text, and returns the number of tokens."""
        if self._loaded is None:
            self._loaded = _load()
        tokenizer, weights = self._loaded
        tokens = 0
        for row, part in piece:  # not in a batch, which would use all cores
            numbers = np.array(tokenizer.encode(part, add_special_tokens=False).ids, dtype=np.int64)
            sums[row] += weights[numbers].sum(axis=0, dtype=np.float32)
            tokens += len(numbers)
        return tokens


def _parts(text: str) -> Iterator[str]:
    """A text, split at spaces if it is long. The tokenizer adds a space before each part: the tokens stay the same."""
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
        raise Conflict("The local model is not installed: its operator can install the extra `local`.")
    from safetensors.numpy import load_file  # installed with the extra only
    from tokenizers import Tokenizer

    folder = Path(package.origin).parent
    tokenizer = Tokenizer.from_file(str(folder / "tokenizers" / "l2_supercat_tokenizer_config.json"))
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer, load_file(folder / "weights" / "l2_supercat_256.safetensors")["embedding.weight"]
