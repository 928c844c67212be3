"""Embedding of texts with the model of an instance: the local one, or one of a provider."""

import time
from collections.abc import Callable, Sequence

import msgspec
import numpy as np
from numpy.typing import NDArray

from service.database.pool import Pool
from service.errors import Conflict, Invalid, Problem, found
from service.observability import metrics
from service.provider_keys.keyring import DoesNotOpen, Keyring, instance_place
from service.providers.connection import Connection
from service.providers.dialects import Purpose
from service.providers.errors import Refused
from service.providers.ledger import Ledger, Spender, Spent, share_ended
from service.providers.local import DIMENSIONS, NAME, NO_KNOWN_WORD, LocalModel
from service.providers.remote import Remote
from service.providers.targets import Targets
from service.queries import llm_instances
from service.queries.llm_instances import Model
from service.settings import PROVIDER_HOSTS, Settings


class Embedded(msgspec.Struct, frozen=True):
    """Vectors of texts in order, `(n, dimensions) float32` of unit length, the model's name, and the cost.

    `bad` are the reasons why some texts cannot be embedded, by their places; their vectors are undefined.
    """

    vectors: NDArray[np.float32]
    model: str
    spent: Spent
    bad: dict[int, str] = {}

    def check(self, where: Callable[[int], str]) -> None:
        """Raises Invalid for bad texts; `where` gives the location of a text in the request."""
        if self.bad:
            raise Invalid(problems=[Problem(reason, where(place)) for place, reason in sorted(self.bad.items())])


class Embedder:
    """All available models."""

    def __init__(self, pool: Pool, keyring: Keyring, config: Settings) -> None:
        self._pool, self._keyring = pool, keyring
        self._local, self._ledger = LocalModel(), Ledger(pool)
        self._targets = Targets(config.provider_hosts or PROVIDER_HOSTS, config.provider_hosts)
        self._connection = Connection(
            self._targets,
            config.service_provider_seconds,
            ca_file=config.service_provider_ca_file,
            proxy=config.service_provider_proxy,
        )
        self._remote = Remote(self._connection)

    async def embed(self, spender: Spender, texts: Sequence[str], purpose: Purpose) -> Embedded:
        """Embeds texts as documents or queries, for an authorized spender.

        Raises NotFound, Forbidden, Conflict for an unusable instance, Invalid and RateLimited for a budget, and
        ProviderError.
        """
        row = await llm_instances.retrieve_llm_instance_by_id(
            self._pool, instance_id=spender.instance_id, holder=spender.holder
        )
        model = found(row, "The instance")
        if not model.is_usable:
            raise share_ended(model.instance, spender.holder)
        key = self._checked(model)
        async with self._ledger.spending(model, spender, texts) as spent:
            if model.dialect == "local":
                vectors, bad = await self._locally(texts, spent)
            else:
                vectors, bad = await self._remote.embed(model, key, texts, purpose, spent)
        return Embedded(vectors, model.name or "", spent, bad)

    async def aclose(self) -> None:
        """Closes connections, and waits for pending work."""
        self._local.close()
        await self._connection.aclose()
        await self._ledger.aclose()

    async def _locally(self, texts: Sequence[str], spent: Spent) -> tuple[NDArray[np.float32], dict[int, str]]:
        start = time.perf_counter()
        vectors, tokens = await self._local.embed(texts)
        metrics.count_provider_call("local", "succeeded", time.perf_counter() - start, tokens)
        spent.requests = 1
        spent.add(texts, tokens)
        return vectors, dict.fromkeys(np.flatnonzero(~vectors.any(axis=1)).tolist(), NO_KNOWN_WORD)

    def _checked(self, model: Model) -> str | None:
        """The key of a model. Raises Conflict for an unusable model, Refused for a key that cannot be decrypted."""
        if model.dialect is None:
            raise Conflict(
                f"The instance {model.instance} cannot embed texts: its API standard has no `dialect`. "
                "Upload and search with vectors."
            )
        if model.dialect == "local":
            if model.name != NAME:
                raise Conflict(
                    f"The instance {model.instance} has the model {model.name!r}, but the local model is {NAME!r}."
                )
            if model.dimensions != DIMENSIONS:
                raise Conflict(
                    f"The instance {model.instance} has {model.dimensions} dimensions, but its model has {DIMENSIONS}."
                )
            return None
        if not model.endpoint or not model.name:
            missing = "endpoint" if not model.endpoint else "model"
            raise Conflict(f"The instance {model.instance} has no `{missing}`, so it cannot be called.")
        self._targets.check(model.endpoint, model.instance)
        if model.sealed_key is None:
            return model.plaintext_key
        try:
            place = instance_place(model.owner, model.instance_handle)
            return self._keyring.open(model.sealed_key, model.sealed_by, place)
        except DoesNotOpen:
            raise Refused(f"The key of {model.instance} cannot be decrypted: its owner can set it again.") from None
