"""The answers of the service. Fields that an answer does not have are None."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Any, Literal

import msgspec
import numpy as np
from msgspec import field
from numpy.typing import NDArray

Role = Literal["reader", "editor"]
MapMethod = Literal["pca", "neighbours"]
Part = Literal["vector", "text", "metadata"]
TextSearch = Literal["editors", "readers", "public"]
InputType = Literal["document", "query"]


class WhoAmI(msgspec.Struct, frozen=True):
    """The owner of the key: `role` is `user` or `admin`; the admin has no handle."""

    user_handle: str | None
    role: str


class UserKey(msgspec.Struct, frozen=True):
    """A user and their `key`, which is shown only once, and not in the `repr`; `not changed` for one that exists."""

    user_handle: str
    key: str = field(name="vdb_key")

    def __repr__(self) -> str:
        return f"UserKey(user_handle={self.user_handle!r}, key=<hidden>)"


class User(msgspec.Struct, frozen=True):
    """A user with everything that they own, and that is shared with them."""

    user_handle: str
    email: str
    projects: list[dict[str, Any]]
    definitions: list[dict[str, Any]]
    instances: list[dict[str, Any]]
    name: str | None = None


class Definition(msgspec.Struct, frozen=True):
    """A template for instances. Lists have only the first four fields."""

    definition_id: int
    definition_handle: str
    owner: str
    is_public: bool
    api_standard: str | None = None
    endpoint: str | None = None
    description: str | None = None
    model: str | None = None
    dimensions: int | None = None
    context_limit: int | None = None


class Share(msgspec.Struct, frozen=True):
    """A user with whom something is shared, their role, and for instances the limits."""

    user_handle: str
    role: str
    tokens_per_day: int | None = None
    tokens_per_month: int | None = None
    requests_per_minute: int | None = None
    expires_at: datetime | None = None


class Instance(msgspec.Struct, frozen=True):
    """A model that embeds texts; its key is never shown. Lists have the fields up to `model` only."""

    owner: str
    instance_handle: str
    instance_id: int
    access_role: str
    api_standard: str
    dimensions: int
    has_api_key: bool
    description: str | None = None
    model: str | None = None
    endpoint: str | None = None
    context_limit: int | None = None
    definition_id: int | None = None
    definition_owner: str | None = None
    definition_handle: str | None = None
    tokens_per_day: int | None = None
    tokens_per_month: int | None = None
    requests_per_minute: int | None = None
    expires_at: datetime | None = None
    shared_with: list[Share] | None = None


class Usage(msgspec.Struct, frozen=True):
    """The cost of embedding: texts, tokens, calls of the provider; `unchanged` texts were already stored."""

    texts: int = 0
    tokens: int = 0
    requests: int = 0
    unchanged: int = 0
    estimated_tokens: int = 0


class Used(msgspec.Struct, frozen=True):
    """A line of the ledger of an instance: of a `day` or of a user."""

    day: str | None = None
    user_handle: str | None = None
    requests: int = 0
    texts: int = 0
    tokens: int = 0
    estimated_tokens: int = 0
    failures: int = 0


class Embedded(msgspec.Struct, frozen=True):
    """Texts as vectors of unit length: `vectors` are `(n, dimensions) float32`, in the order of the texts."""

    model: str
    dimensions: int
    vectors: NDArray[np.float32]
    usage: Usage


class ProjectInfo(msgspec.Struct, frozen=True):
    """A project as this key may see it; `role` is that of the key. Lists have only the fields up to the number."""

    owner: str
    project_handle: str
    project_id: int
    public_read: bool
    role: str
    number_of_embeddings: int | None = None
    text_search: TextSearch | None = None
    index: dict[str, Any] | None = None
    instance: dict[str, Any] | None = None
    description: str | None = None
    metadata_scheme: str | None = field(name="metadataScheme", default=None)
    shared_with: list[Share] | None = None


class ProjectInstance(msgspec.Struct, frozen=True):
    """The part of its instance that readers of a project may see."""

    owner: str
    instance_handle: str
    dimensions: int
    api_standard: str
    can_embed: bool
    text_search: TextSearch
    model: str | None = None


class Embedding(msgspec.Struct, frozen=True):
    """A stored embedding; `vector` is `(dimensions,) float16`. Parts that were not included are None."""

    text_id: str
    created_at: datetime
    updated_at: datetime
    vector_dim: int
    instance_handle: str
    vector: NDArray[np.float16] | None = None
    text: str | None = None
    metadata: dict[str, Any] | None = None


class Found(msgspec.Struct, frozen=True):
    """The embeddings found, and the ids not found."""

    embeddings: list[Embedding]
    missing: list[str]


class Deleted(msgspec.Struct, frozen=True):
    """How many embeddings were deleted, or with `dry_run` would be, and the first 10,000 of their ids."""

    deleted: int
    text_ids: list[str]
    dry_run: bool


class Stored(msgspec.Struct, frozen=True):
    """The result of a batch; texts have `usage`."""

    inserted: int
    updated: int
    unchanged: int
    usage: Usage | None = None


class Similar(msgspec.Struct, frozen=True):
    """A stored text and its similarity: 1 - cosine distance, from -1 to 1."""

    id: str
    similarity: float
    text: str | None = None
    metadata: dict[str, Any] | None = None


class Method(msgspec.Struct, frozen=True):
    """How an answer was found (`exact`, `index` or `filtered`), and its recall."""

    method: str
    recall: float


class Similars(msgspec.Struct, frozen=True):
    """Similar texts, best first."""

    results: list[Similar]
    search: Method

    def __iter__(self) -> Iterator[Similar]:
        return iter(self.results)

    def __len__(self) -> int:
        return len(self.results)

    def arrays(self) -> tuple[list[str], NDArray[np.float32]]:
        """The ids, and the similarities as `(n,) float32`."""
        return [one.id for one in self.results], np.array([one.similarity for one in self.results], np.float32)


class ManySimilars(msgspec.Struct, frozen=True):
    """Similar texts of many vectors: a list for each, in the order of the vectors, best first."""

    results: list[list[Similar]]
    limit: int

    def arrays(self) -> tuple[NDArray[np.object_], NDArray[np.float32]]:
        """The ids as `(n, limit) object`, and the similarities as `(n, limit) float32`.

        Where fewer were found the rest are None and NaN.
        """
        ids = np.full((len(self.results), self.limit), None, dtype=object)
        similarities = np.full((len(self.results), self.limit), np.nan, dtype=np.float32)
        for place, found in enumerate(self.results):
            ids[place, : len(found)] = [one.id for one in found]
            similarities[place, : len(found)] = [one.similarity for one in found]
        return ids, similarities


class SchemaFailure(msgspec.Struct, frozen=True):
    """A stored embedding whose metadata violate a schema: where, like `.author.name`, and how."""

    text_id: str
    path: str
    message: str


class SchemaCheck(msgspec.Struct, frozen=True):
    """How many of the `checked` rows violate a schema, and the first 100 of them, in the order of their ids."""

    checked: int
    failing: int
    failures: list[SchemaFailure]
    number_of_embeddings: int


class Trustworthiness(msgspec.Struct, frozen=True):
    """Whether the nearest `k` points in a map are also near among the vectors: 1 is the best, 0.5 is chance.

    `value` is of this map, `pca` of the principal components, of a `sample` of points; None for very few points.
    """

    k: int
    value: float | None
    pca: float | None
    sample: int


class ProjectMap(msgspec.Struct, frozen=True):
    """A project in the plane: `positions` are `(n, 2) float32`, of the `ids`.

    `field` has a value of the metadata of each, if it was asked for. `sampled`: only some of all `rows` are
    shown. `changes` is the project's counter when the map was made.
    """

    method: MapMethod
    ids: list[str]
    positions: NDArray[np.float32]
    field: list[Any] | None
    rows: int
    sampled: bool
    changes: int | None
    computed_at: datetime | None
    trustworthiness: Trustworthiness | None
