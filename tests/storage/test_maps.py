"""Maps that are made in the background, by real processes on a real database."""

import asyncio
import os
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from service.children import Child
from service.database.pool import Pool, open_pool
from service.maps import worker
from service.queries import embeddings, maps, projects
from service.queries.maps import KnownMap
from service.settings import IndexAims
from service.storage import indexer
from service.storage import maps as making
from service.turns import beside
from tests.conftest import variables_for
from tests.support import factories
from tests.support.factories import upsert
from tests.support.prepared import Prepared
from tests.support.processes import started
from tests.support.watched import command_line, descendants, is_alive

pytestmark = pytest.mark.slow

ROWS = 200


@pytest.fixture
async def pool(url: str) -> Any:
    async with await open_pool(url, size=4, statement_timeout=30) as pool:
        yield pool


def vectors(rows: int, seed: int = 1, dimensions: int = 3) -> dict[str, Any]:
    random = np.random.default_rng(seed)
    return {f"{seed}-{row:04}": random.normal(size=dimensions).tolist() for row in range(rows)}


async def made(pool: Pool, rows: dict[str, Any]) -> int:
    number = await factories.filled(pool)
    if rows:
        await upsert(pool, number, rows)
    return number


async def look(url: str, pool: Pool, number: int) -> KnownMap:
    """Asks, has the indexer look, and returns what there is then."""
    await maps.ask_for_map(pool, project_id=number)
    async with indexer.connecting(url) as connection:
        await making.poll(connection)
    return await known(pool, number)


async def known(pool: Pool, number: int) -> KnownMap:
    state = await maps.retrieve_map(pool, project_id=number, parts=100)
    assert state is not None
    return state.map


async def plane(pool: Pool, number: int, *, by_neighbours: bool) -> dict[str, Any]:
    """The positions by id."""
    found: dict[str, Any] = {}
    for part in await maps.get_map_points(
        pool, project_id=number, by_neighbours=by_neighbours, field=None, longest=1, parts=100
    ):
        positions = np.frombuffer(part.positions or b"", dtype="<f4").reshape(-1, 2)
        found |= {one: positions[place - 1] for one, place in zip(part.text_ids, part.places, strict=True)}
    return found


def without_the_extra(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, *more: str) -> None:
    """Has the processes that are started do without it; `more` are lines for their beginning."""
    lines = ["import sys", "sys.modules['openTSNE'] = None", *more]
    (tmp_path / "sitecustomize.py").write_text("\n".join(lines))
    monkeypatch.syspath_prepend(str(tmp_path))


async def test_both_methods(url: str, pool: Pool) -> None:
    rows = vectors(ROWS)
    number = await made(pool, rows)
    found = await look(url, pool, number)
    assert (found.asked_at, found.stage, found.error) == (None, None, None)
    assert found.has_neighbours
    assert found.trust_sample == ROWS
    assert found.trust_of_neighbours is not None
    assert found.trust_of_pca is not None
    assert 0.8 < found.trust_of_pca < found.trust_of_neighbours <= 1  # two of three dimensions are seen
    by_pca, by_neighbours = [await plane(pool, number, by_neighbours=which) for which in (False, True)]
    assert set(by_pca) == set(by_neighbours) == set(rows)
    assert not np.array_equal(by_pca["1-0000"], by_neighbours["1-0000"])
    # The projection is that of the covariance of the unit vectors as they are stored.
    stored = np.array([rows[one] for one in by_pca], dtype=np.float16).astype(np.float64)
    stored /= np.linalg.norm(stored, axis=1, keepdims=True)
    stored -= stored.mean(axis=0)
    _, axes = np.linalg.eigh(np.cov(stored.T))
    for place in (0, 1):
        expected = stored @ axes[:, -1 - place]
        shown = np.array([one[place] for one in by_pca.values()])
        assert min(np.abs(shown - expected).max(), np.abs(shown + expected).max()) < 1e-3


@pytest.mark.parametrize("rows", [0, 1, 2, 3, 12])
async def test_very_small_projects(url: str, pool: Pool, rows: int) -> None:
    number = await made(pool, vectors(rows))
    found = await look(url, pool, number)
    assert found.error is None
    assert found.has_neighbours
    for which in (False, True):
        points = await plane(pool, number, by_neighbours=which)
        assert len(points) == rows
        assert all(np.isfinite(one).all() for one in points.values())
    assert (found.trust_of_pca, found.trust_of_neighbours) == (None, None)


async def test_equal_and_zero_vectors(url: str, pool: Pool) -> None:
    number = await made(pool, {f"{row:03}": [1.0, 2.0, 3.0] for row in range(100)})
    await pool.execute(f"UPDATE embeddings_{number} SET vector = '[0,0,0]' WHERE text_id < '003'")  # of the original
    found = await look(url, pool, number)
    assert found.error is None
    for which in (False, True):
        points = np.array(list((await plane(pool, number, by_neighbours=which)).values()))
        assert points.shape == (100, 2)
        assert np.isfinite(points).all()


async def test_later_rows_get_places_and_deleted_ones_lose_them(url: str, pool: Pool) -> None:
    rows = vectors(ROWS)
    number = await made(pool, rows)
    await look(url, pool, number)
    before = [await plane(pool, number, by_neighbours=which) for which in (False, True)]
    await embeddings.delete_embedding(pool, project_id=number, text_ids=["1-0000"])
    for which in (False, True):
        assert set(await plane(pool, number, by_neighbours=which)) == set(rows) - {"1-0000"}  # before the next look
    later = {f"new-{row}": rows[f"1-{row:04}"] for row in range(1, 11)} | {"1-0011": rows["1-0012"]}
    await upsert(pool, number, later)
    found = await look(url, pool, number)
    assert found.error is None
    basis = await pool.fetchrow("SELECT base_changes, base_rows FROM project_maps WHERE project_id = $1", number)
    assert tuple(basis) == (ROWS, ROWS)
    for which in (False, True):
        after = await plane(pool, number, by_neighbours=which)
        assert set(after) == (set(rows) | set(later)) - {"1-0000"}
        for row in range(1, 11):
            assert after[f"new-{row}"] == pytest.approx(before[which][f"1-{row:04}"], abs=1e-2)
        assert after["1-0011"] == pytest.approx(before[which]["1-0012"], abs=1e-2)  # its vector was changed
        assert all(np.array_equal(after[one], before[which][one]) for one in set(rows) - {"1-0000", "1-0011"})


async def test_both_are_made_anew_when_a_fifth_has_changed(url: str, pool: Pool) -> None:
    number = await made(pool, vectors(ROWS))
    await look(url, pool, number)
    base = "SELECT base_changes FROM project_maps WHERE project_id = $1"
    await upsert(pool, number, vectors(ROWS // 5, seed=2))
    await look(url, pool, number)
    assert await pool.fetchval(base, number) == ROWS
    await upsert(pool, number, vectors(1, seed=3))
    before = await plane(pool, number, by_neighbours=True)
    found = await look(url, pool, number)
    assert await pool.fetchval(base, number) == ROWS + ROWS // 5 + 1
    assert found.has_neighbours
    after = await plane(pool, number, by_neighbours=True)
    assert any(not np.array_equal(after[one], before[one]) for one in before)


async def test_a_layout_that_was_only_kept_is_made_anew_later(
    url: str, pool: Pool, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The projection is stored first, with the older layout; then the process fails, as it might be killed."""
    number = await made(pool, vectors(ROWS))
    await look(url, pool, number)
    await upsert(pool, number, vectors(ROWS, seed=2))
    with monkeypatch.context() as absent:
        without_the_extra(absent, tmp_path)
        found = await look(url, pool, number)
    assert (found.error, found.changes) == (worker.NOT_INSTALLED, 2 * ROWS)
    before = await plane(pool, number, by_neighbours=True)
    found = await look(url, pool, number)
    assert (found.error, found.has_neighbours) == (None, True)
    after = await plane(pool, number, by_neighbours=True)
    assert any(not np.array_equal(after[one], before[one]) for one in before)
    assert await pool.fetchval("SELECT base_changes FROM project_maps WHERE project_id = $1", number) == 2 * ROWS


async def test_a_sample_stays_when_rows_come(url: str, pool: Pool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker, "MOST_POINTS", 60)
    number = await made(pool, vectors(ROWS))
    await look(url, pool, number)
    before = await plane(pool, number, by_neighbours=False)
    assert len(before) == 60
    await upsert(pool, number, vectors(20, seed=2))
    await look(url, pool, number)
    after = await plane(pool, number, by_neighbours=False)
    assert len(after) == 60
    came = set(after) - set(before)
    assert all(one.startswith("2-") for one in came)
    assert len(set(before) - set(after)) == len(came) <= 20


async def test_an_emptied_project_has_no_map(url: str, pool: Pool) -> None:
    number = await made(pool, vectors(ROWS))
    await look(url, pool, number)
    await embeddings.delete_embeddings_by_project(pool, project_id=number)
    state = await maps.retrieve_map(pool, project_id=number, parts=1)
    assert state is not None
    assert (state.map.asked_at, state.map.made_at) == (None, None)
    assert await pool.fetchval("SELECT count(*) FROM project_map_parts WHERE project_id = $1", number) == 0


async def test_without_the_extra_there_is_the_projection(
    url: str, pool: Pool, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    without_the_extra(monkeypatch, tmp_path)
    number = await made(pool, vectors(ROWS))
    found = await look(url, pool, number)
    assert found.error == worker.NOT_INSTALLED
    assert found.made_at is not None
    assert not found.has_neighbours
    assert len(await plane(pool, number, by_neighbours=False)) == ROWS


async def test_a_failure_is_told_and_another_try_may_succeed(
    url: str, pool: Pool, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    limit = "import resource; resource.setrlimit(resource.RLIMIT_DATA, (120 * 2**20, 120 * 2**20))"
    without_the_extra(monkeypatch, tmp_path, "import numpy, service.maps.quality", limit)
    number = await factories.filled(pool)
    await upsert(pool, number, {f"{row:05}": [1.0, row, 3] for row in range(20_000)})
    found = await look(url, pool, number)
    assert found.error in (worker.NO_MEMORY, making.ENDED)
    assert found.failed_at is not None
    assert found.asked_at is None
    (tmp_path / "sitecustomize.py").write_text("import os; os._exit(7)")
    assert (await look(url, pool, number)).error == making.ENDED
    (tmp_path / "sitecustomize.py").unlink()
    other = await made(pool, vectors(12))
    assert (await look(url, pool, other)).error is None


async def test_a_process_that_ends_before_it_has_its_input(
    url: str, pool: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The connection can be used afterwards: it is not left in the middle of a COPY."""

    usual = Child.send

    async def send(child: Child, content: bytes) -> None:
        if not content.startswith(b"PGCOPY"):
            await usual(child, content)
            return
        child._process.kill()
        raise ConnectionResetError

    number = await made(pool, vectors(12))
    monkeypatch.setattr(Child, "send", send)
    async with asyncio.timeout(30):
        assert (await look(url, pool, number)).error == making.ENDED


async def test_the_indexer_makes_one_that_was_asked_for(url: str, pool: Pool) -> None:
    number = await made(pool, vectors(12))
    async with beside(indexer.run(url, IndexAims(threshold=1000, memory=64 * 1024 * 1024))):
        await asyncio.sleep(0.1)
        state = await maps.retrieve_map(pool, project_id=number, parts=1)
        assert state is not None
        assert (state.map.asked_at, state.map.made_at) == (None, None)  # nobody has asked
        await maps.ask_for_map(pool, project_id=number)
        while (await known(pool, number)).made_at is None:
            await asyncio.sleep(0.1)


def running(url: str, log: Path) -> Prepared:
    values = variables_for(url)
    return started("index", log=log, **values)


def workers(number: int) -> set[int]:
    return {one for one in descendants(number) if "maps/worker.py" in command_line(one)}


async def test_an_indexer_that_is_killed_is_taken_over(url: str, pool: Pool, tmp_path: Path) -> None:
    random = np.random.default_rng(1)
    rows = {f"{row:05}": random.normal(size=3).tolist() for row in range(6000)}
    number = await made(pool, rows)
    await maps.ask_for_map(pool, project_id=number)
    first = running(url, tmp_path / "first")
    second = None
    try:
        while (await known(pool, number)).stage != "neighbours":  # the projection is stored, the layout not yet
            await asyncio.sleep(0.1)
        (computing,) = workers(first.pid)
        os.kill(computing, signal.SIGSTOP)  # so that it has not ended before
        second = running(url, tmp_path / "second")
        await asyncio.sleep(3)
        assert workers(second.pid) == set()  # it does not do the same
        os.kill(first.pid, signal.SIGKILL)
        first.wait()
        os.kill(computing, signal.SIGCONT)
        async with asyncio.timeout(60):
            while is_alive(computing):
                await asyncio.sleep(0.1)
        assert not (await known(pool, number)).has_neighbours
        assert len(await plane(pool, number, by_neighbours=False)) == len(rows)
        while not workers(second.pid):
            await asyncio.sleep(0.1)
        # The process itself is killed: that is told.
        (computing,) = workers(second.pid)
        os.kill(computing, signal.SIGKILL)
        while (found := await known(pool, number)).error is None:
            await asyncio.sleep(0.1)
        assert found.error == making.ENDED
        assert found.asked_at is None
        # Once more, and the project is emptied meanwhile.
        await maps.ask_for_map(pool, project_id=number)
        while not workers(second.pid):
            await asyncio.sleep(0.1)
        await embeddings.delete_embeddings_by_project(pool, project_id=number)
        while workers(second.pid):
            await asyncio.sleep(0.1)
        state = await maps.retrieve_map(pool, project_id=number, parts=1)
        assert state is not None
        assert (state.rows, state.map.asked_at, state.map.made_at) == (0, None, None)
    finally:
        for process in (first, second):
            if process is not None and process.poll() is None:
                process.kill()
                process.wait()


async def stopped_worker(pool: Pool, number: int) -> int:
    """The process that computes the map, which says nothing more, as one that computes for long."""
    async with asyncio.timeout(60):
        # It has all rows, and a small map that a service in this process makes for an earlier test is done.
        while (await known(pool, number)).stage is None or len(workers(os.getpid())) != 1:
            await asyncio.sleep(0.01)
    (computing,) = workers(os.getpid())
    os.kill(computing, signal.SIGSTOP)
    return computing


async def test_a_deletion_ends_the_process_at_work(url: str, pool: Pool) -> None:
    number = await made(pool, vectors(6000))
    await maps.ask_for_map(pool, project_id=number)
    async with beside(indexer.run(url, IndexAims(threshold=10_000, memory=2**26))):
        computing = await stopped_worker(pool, number)
        await pool.execute("DELETE FROM projects WHERE project_id = $1", number)
        await projects.drop_table(pool, project_id=number)
        async with asyncio.timeout(60):
            while is_alive(computing):
                await asyncio.sleep(0.1)
        # The next one is made.
        other = await made(pool, vectors(12))
        await maps.ask_for_map(pool, project_id=other)
        async with asyncio.timeout(60):
            while (await known(pool, other)).made_at is None:
                await asyncio.sleep(0.1)


async def test_a_map_asked_for_after_a_project_was_emptied_is_made(url: str, pool: Pool) -> None:
    """The map of the earlier embeddings ends, but not the new request."""
    number = await made(pool, vectors(6000))
    await maps.ask_for_map(pool, project_id=number)
    async with beside(indexer.run(url, IndexAims(threshold=10_000, memory=2**26))):
        computing = await stopped_worker(pool, number)
        await embeddings.delete_embeddings_by_project(pool, project_id=number)
        rows = vectors(20, seed=2)
        await upsert(pool, number, rows)
        await maps.ask_for_map(pool, project_id=number)
        async with asyncio.timeout(60):
            while is_alive(computing):
                await asyncio.sleep(0.1)
            while (await known(pool, number)).made_at is None:
                await asyncio.sleep(0.1)
    assert set(await plane(pool, number, by_neighbours=False)) == set(rows)


async def test_a_process_that_reads_nothing_is_ended(
    url: str, pool: Pool, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The statement that sends the rows would hold the table of the project for ever."""
    monkeypatch.setattr(making, "STUCK_SECONDS", 3.0)
    (tmp_path / "sitecustomize.py").write_text("import os, signal; os.kill(os.getpid(), signal.SIGSTOP)")
    monkeypatch.syspath_prepend(str(tmp_path))
    number = await made(pool, {f"{row:05}": [1.0, row, 3] for row in range(20_000)})
    async with asyncio.timeout(60):
        assert (await look(url, pool, number)).error == making.ENDED
        while workers(os.getpid()):  # perhaps one of another service in this process
            await asyncio.sleep(0.1)
    await projects.drop_table(pool, project_id=number)
