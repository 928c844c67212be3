"""What embedding texts cost."""

from collections.abc import Sequence

import msgspec

from service.providers.limits import BYTES_OF_TOKEN

MOST_TOKENS = 10**9  # that a provider may say of one call


class Spent(msgspec.Struct):
    """What was spent: calls, texts that were embedded, their tokens, of these the estimated ones; calls that failed."""

    requests: int = 0
    texts: int = 0
    tokens: int = 0
    estimated_tokens: int = 0
    failures: int = 0

    def add(self, texts: Sequence[str], tokens: int | None) -> None:
        """Adds a call, with the provider's own count of tokens, or an estimate."""
        estimate = sum(-(-len(text.encode()) // BYTES_OF_TOKEN) for text in texts)
        self.texts += len(texts)
        self.tokens += estimate if tokens is None else min(max(tokens, 0), MOST_TOKENS)
        self.estimated_tokens += estimate if tokens is None else 0
