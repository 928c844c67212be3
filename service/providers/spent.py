"""The cost of embedding texts."""

from collections.abc import Sequence

import msgspec

from service.providers.limits import BYTES_OF_TOKEN


class Spent(msgspec.Struct):
    """A cost: calls, embedded texts, their tokens, the estimated part of these, and failed calls."""

    requests: int = 0
    texts: int = 0
    tokens: int = 0
    estimated_tokens: int = 0
    failures: int = 0

    def add(self, texts: Sequence[str], tokens: int | None) -> None:
        """Adds a call, with the provider's count of tokens or an estimate."""
        estimate = sum(-(-len(text.encode()) // BYTES_OF_TOKEN) for text in texts)
        self.texts += len(texts)
        self.tokens += estimate if tokens is None else tokens
        self.estimated_tokens += estimate if tokens is None else 0
