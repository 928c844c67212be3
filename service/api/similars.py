"""Similar texts (contract section 8)."""

from typing import Annotated

import msgspec
import numpy as np
from msgspec import Meta

from service import vectors
from service.api.embeddings import EmbeddingPath, candidates
from service.auth import Storage, embeddings_reader
from service.errors import BadRequest, Invalid, Problem, found, show
from service.fields import ShortText
from service.http import endpoint
from service.queries import embeddings, similars
from service.queries.similars import Similar
from service.request import Req

Limit = Annotated[int, Meta(ge=1, le=200)]


class Search(msgspec.Struct, frozen=True):
    """How to search. `count` is the older name of `limit`; the smaller counts.

    `metadata_path` and `metadata_value` leave out the texts whose metadata field has the value.
    """

    limit: Limit | None = None
    count: Limit | None = None
    offset: Annotated[int, Meta(ge=0, le=10**12)] = 0
    threshold: Annotated[float, Meta(ge=-1, le=1)] = 0.5
    metadata_path: Annotated[ShortText, Meta(min_length=1)] | None = None
    metadata_value: ShortText | None = None

    @property
    def max_rows(self) -> int:
        """How many results are asked for."""
        return min(self.limit or self.count or 10, self.count or self.limit or 10)


class VectorIn(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A raw vector to compare with: the project's number of dimensions, finite, not all zero."""

    vector: Annotated[list[float], Meta(max_length=vectors.MAX_DIMENSIONS)]


class Method(msgspec.Struct, frozen=True):
    """How an answer was found; `recall` is 1 for an exact one."""

    method: str
    recall: float


class Similars(msgspec.Struct, frozen=True):
    """Similar texts, best first, ties by id."""

    user_handle: str
    project_handle: str
    results: list[Similar]
    search: Method


@endpoint("GET", "/v1/similars/{user}/{project}/{text_id}", guard=embeddings_reader, errors=(404, 409))
async def get_similars(req: Req, path: EmbeddingPath, query: Search, access: Storage) -> Similars:
    """Texts that are similar to a stored one, itself left out."""
    row = await embeddings.retrieve_embeddings(req.db, project_id=access.project_id, text_ids=candidates(req, path))
    stored = found(row, f"The embedding {path.text_id!r}")
    vector = found(stored.vector, f"The vector of {path.text_id!r}")
    return await _similars(req, access, query, vector.to_binary(), stored.text_id)


@endpoint("POST", "/v1/similars/{user}/{project}", guard=embeddings_reader, errors=(404, 409))
async def post_similars(req: Req, query: Search, body: VectorIn, access: Storage) -> Similars:
    """Texts that are similar to a raw vector."""
    got, expected = len(body.vector), access.dimensions
    if got != expected:
        message = f"vector dimension mismatch: expected {expected} dimensions, got {got}"
        raise BadRequest(message, [Problem(message, "body.vector")])
    numbers = np.array([body.vector], dtype=np.float64)
    if vectors.faulty_rows(numbers).size:
        message, component = vectors.fault(numbers[0]) or ("is not valid", None)
        value = None if component is None else show(float(numbers[0][component]))
        raise Invalid(problems=[Problem(message, "body.vector", value)])
    return await _similars(req, access, query, vectors.to_binary(numbers.astype(np.float16))[0], None)


async def _similars(req: Req, project: Storage, query: Search, vector: bytes, except_id: str | None) -> Similars:
    if (query.metadata_path is None) != (query.metadata_value is None):
        missing = "metadata_path" if query.metadata_path is None else "metadata_value"
        problem = Problem("is required with its counterpart", f"query.{missing}")
        raise BadRequest("metadata_path and metadata_value go together.", [problem])
    results = await similars.get_similars_by_vector(
        req.db,
        project_id=project.project_id,
        vector=vector,
        except_id=except_id,
        threshold=query.threshold,
        metadata_path=query.metadata_path,
        metadata_value=query.metadata_value,
        max_rows=query.max_rows,
        skip=query.offset,
    )
    return Similars(project.owner, project.project_handle, results, Method("exact", 1.0))


endpoints = [get_similars, post_similars]
