"""Users and projects of the tests of statements."""

from collections.abc import AsyncIterator

import numpy as np
import pytest

from service.database.pool import Connection, Pool
from tests.support import factories


@pytest.fixture
async def anna(connection: Connection) -> str:
    """A user."""
    return await factories.user(connection)


@pytest.fixture
async def bert(connection: Connection) -> str:
    """Another user."""
    return await factories.user(connection)


@pytest.fixture
async def number(connection: Connection) -> int:
    """An empty project of three dimensions."""
    return await factories.filled(connection)


@pytest.fixture
async def filled(pool: Pool) -> AsyncIterator[tuple[int, int]]:
    """A project of 40 embeddings of three dimensions that others see too, and its highest sequence."""
    random = np.random.default_rng(1)
    number = await factories.filled(pool)
    await factories.upsert(pool, number, {f"{row:02}": random.normal(size=3).tolist() for row in range(40)})
    yield number, await pool.fetchval(f"SELECT max(sequence) FROM embeddings_{number}")
    await pool.execute("DELETE FROM projects WHERE project_id = $1", number)
    await pool.execute("SELECT drop_embeddings_partition($1)", number)
