"""Projects with clustered vectors, made by statements; what numpy, an index or an exact search finds in them."""

from typing import Any

import numpy as np

from service import vectors
from service.database.pool import Pool
from service.queries import embeddings, projects
from service.queries.projects import ProjectAccess
from service.search import filters
from service.search.nearest import VECTORS_AT_ONCE, Question, nearest
from service.settings import IndexAims
from service.storage import builds, indexer
from tests.support import factories

DIMENSIONS = 16
AIMS = IndexAims(threshold=100, memory=64 * 1024 * 1024)


def clustered(rows: int, dimensions: int, seed: int = 1) -> Any:
    """`(rows, dimensions) float16` of unit length, in clusters as real embeddings are."""
    rng = np.random.default_rng(seed)
    centres = rng.normal(size=(max(rows // 100, 4), dimensions))
    points = centres[rng.integers(len(centres), size=rows)] + 0.7 * rng.normal(size=(rows, dimensions))
    return (points / np.linalg.norm(points, axis=1, keepdims=True)).astype(np.float16)


async def made(pool: Pool, dimensions: int = DIMENSIONS) -> ProjectAccess:
    owner = await factories.user(pool)
    await factories.instance(pool, owner, "inst", dimensions=dimensions)
    number = await factories.project(pool, owner, "inst", "proj")
    return ProjectAccess(number, owner, "proj", "owner", owner, owner, "inst", dimensions, None, None, [], [])


async def put(pool: Pool, project: ProjectAccess, rows: dict[str, Any], metadata: list[Any] | None = None) -> None:
    ids = sorted(rows)
    chosen = dict(zip(rows, metadata, strict=True)) if metadata else {}
    for start in range(0, len(ids), 5000):
        some = ids[start : start + 5000]
        await embeddings.upsert_embeddings(
            pool,
            project_id=project.project_id,
            text_ids=some,
            vectors=vectors.to_binary(np.array([rows[one] for one in some], dtype=np.float16)),
            texts=[None] * len(some),
            metadata=[chosen.get(one) for one in some],
            keep_text=[],
            keep_metadata=[] if metadata else some,
        )
    await pool.execute(f"ANALYZE embeddings_{project.project_id}")


def numbered(stored: Any, rows: range) -> dict[str, Any]:
    """Some of the vectors by their numbers, as ids of four digits."""
    return {f"{row:04}": stored[row] for row in rows}


async def filled(pool: Pool, rows: int) -> tuple[ProjectAccess, Any]:
    """A project with vectors whose ids are their numbers; and the vectors."""
    project, stored = await made(pool), clustered(rows, DIMENSIONS)
    await put(pool, project, numbered(stored, range(rows)))
    return project, stored


async def known(pool: Pool, project: ProjectAccess) -> ProjectAccess:
    """The project with what is known of its index."""
    row = await projects.retrieve_project_access(
        pool, key_hash=None, is_admin=True, owner=project.owner, project_handle=project.project_handle
    )
    assert row.access is not None
    return row.access


async def index(pool: Pool, url: str) -> list[builds.Built]:
    await pool.execute("SELECT pg_stat_force_next_flush()")
    return await indexer.run_once(url, AIMS)


def by_numpy(rows: dict[str, Any], vector: Any, limit: int, threshold: float = -1.0) -> list[str]:
    ids = sorted(rows)
    stored = np.array([rows[one] for one in ids], dtype=np.float64)
    query = np.asarray(vector, dtype=np.float64)
    similarities = stored @ query / (np.linalg.norm(stored, axis=1) * np.linalg.norm(query))
    order = np.argsort(-similarities, kind="stable")  # equal ones stay in the order of their ids
    return [ids[place] for place in order[:limit] if similarities[place] >= threshold]


def question(**given: Any) -> Question:
    return Question(**{"max_rows": 10, "skip": 0, "threshold": -1.0, "recall": 0.99, **given})


async def found(pool: Pool, project: ProjectAccess, vector: Any, asked: Question) -> tuple[list[str], str]:
    (binary,) = vectors.to_binary(np.array([vector], dtype=np.float16))
    answer = await nearest(pool, project, [binary], asked)
    return answer.nearest[0][0], answer.method


def by_index(project: ProjectAccess, stored: Any, many: int, only: Any, candidates: int) -> dict[str, Any]:
    """The parameters of GetSimilarsByIndex."""
    return {
        "schema": "public",
        "project_id": project.project_id,
        "dimensions": project.dimensions,
        "watermark": project.watermark,
        "vectors": vectors.to_binary(stored[:many]),
        "except_id": None,
        "threshold": 0.5,
        "metadata_path": None,
        "metadata_value": None,
        "only": filters.compiled(only).path if only else None,
        "max_rows": 10,
        "skip": 0,
        "candidates": candidates,
        "at_most": 1 if many == 1 else VECTORS_AT_ONCE,
        "filtered": int(only is not None),
        "confirms": 1,
        "key_hash": None,
        "is_admin": True,
        "owner": project.owner,
        "project_handle": project.project_handle,
        "measured_at": project.measured_at,
    }
