"""Turns texts into vectors with the model of an instance."""

from collections.abc import Sequence

from service.errors import Conflict
from service.providers.local import DIMENSIONS, NAME, Embedded, LocalModel
from service.queries.llm_instances import Model


class Embedder:
    """All models that the service can call."""

    def __init__(self) -> None:
        self._local = LocalModel()

    async def embed(self, model: Model, texts: Sequence[str]) -> Embedded:
        """The vectors of texts, of unit length, in order; zero for a text in which the model knows nothing.

        Raises Conflict for an instance that cannot be called.
        """
        if model.dialect is None:
            raise Conflict(
                f"The instance {model.instance} cannot embed texts here: its API standard has no `dialect`. "
                "Upload and search with vectors that were made elsewhere."
            )
        if model.name != NAME:
            raise Conflict(f"The instance {model.instance} names the model {model.name!r}; the local one is {NAME!r}.")
        if model.dimensions != DIMENSIONS:
            raise Conflict(
                f"The instance {model.instance} has {model.dimensions} dimensions, and its model {DIMENSIONS}."
            )
        return await self._local.embed(texts)

    def close(self) -> None:
        """Ends what runs."""
        self._local.close()
