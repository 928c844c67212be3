"""What is measured, beside the limit that PostgreSQL sets in the same run, and what must be reached."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import click
import httpx2
import msgspec
import numpy as np

from benchmarks import filters
from benchmarks.data import BATCH, LIMIT, QUERIES, Data
from benchmarks.service import Client
from benchmarks.timing import each, per_second, timed
from service.vectors import to_binary

ROUNDS = 3  # of each upload and each COPY, in turn; the median counts
NEW_ROWS = 9_500  # stay below the number from which a project is indexed, so that no build runs beside
INDEXED_ROWS = 50_000


class Figure(msgspec.Struct):
    """One line of the table: what was measured, what PostgreSQL takes for the same, and what the line must reach."""

    name: str
    measured: float
    unit: str
    asked: float
    limit: float | None = None
    at_most: bool = False
    needed: bool = True

    @property
    def value(self) -> float:
        """What is compared with what is asked: a ratio where there is a limit."""
        return self.measured if self.limit is None else self.measured / self.limit

    @property
    def is_reached(self) -> bool:
        """Whether it is."""
        return self.value <= self.asked if self.at_most else self.value >= self.asked


def table(figures: list[Figure]) -> str:
    """The figures as lines."""
    lines = [f"{'':56}{'measured':>10}{'limit':>10}{'':>8}{'ratio':>8}{'asked':>8}"]
    for one in figures:
        limit, ratio = ("", "") if one.limit is None else (f"{one.limit:,.4g}", f"{one.value:.2f}")
        sign = "<=" if one.at_most else ">="
        reached = "" if one.is_reached else "  NOT REACHED"
        lines.append(
            f"{one.name:56}{one.measured:>10,.4g}{limit:>10} {one.unit:7}{ratio:>8} {sign:>4} {one.asked:<5g}{reached}"
        )
    return "\n".join(lines)


class Bench:
    """A run: a client of the service, and connections to its database."""

    def __init__(self, http: httpx2.AsyncClient, pool: Any, data: Data) -> None:
        self.http, self.pool, self.data = http, pool, data
        self.dimensions: int = data.vectors.shape[1]
        self.figures: list[Figure] = []

    def add(self, name: str, measured: float, unit: str, asked: float, **more: Any) -> None:
        """Keeps a figure, and shows it."""
        figure = Figure(name, float(measured), unit, asked, **more)
        self.figures.append(figure)
        mark = "" if figure.is_reached else "  NOT REACHED"
        click.echo(f"  {name}: {figure.measured:,.4g} {unit}, {figure.value:.3g} (asked {asked:g}){mark}", err=True)

    async def new(self) -> Client:
        """An empty project."""
        return await Client(self.http, self.dimensions).make_project()

    async def uploads(self, json: bool) -> None:
        """Rows a second into empty projects, and of a COPY of the same rows; and sent again."""
        rows = NEW_ROWS
        packed, plain = self.data.as_packed(0, rows), self.data.as_json(0, rows) if json else []
        copied, first, again, jsons = [], [], [], []
        await self._copy(rows)  # new files are slower to write: the first does not count
        for _ in range(ROUNDS):
            copied.append(rows / await self._copy(rows))
            client = await self.new()
            first.append(rows / await _expect(client.upload(packed), inserted=rows))
            again.append(rows / await _expect(client.upload(packed), unchanged=rows))
            await client.delete()
            if json:
                client = await self.new()
                jsons.append(rows / await _expect(client.upload(plain, "application/json"), inserted=rows))
                await client.delete()
        limit = float(np.median(copied))
        rate = float(np.median(first))
        of = f"{self.dimensions} dimensions"
        self.add(f"upload, MessagePack, {of}, of COPY", rate, "rows/s", 0.4, limit=limit, needed=json)
        if json:
            self.add(f"upload, JSON, {of}, of COPY", np.median(jsons), "rows/s", 0.12, limit=limit)
            self.add("sending all again unchanged, of the first time", np.median(again), "rows/s", 1.0, limit=rate)

    async def uploads_into_an_index(self) -> None:
        """Rows a second into a project of 50,000 indexed rows, and into an empty one."""
        client = await self.new()
        await client.upload(self.data.as_packed(0, INDEXED_ROWS))
        click.echo(f"  indexing {INDEXED_ROWS:,} rows …", err=True)
        seconds = await timed(client.wait_for_index)
        click.echo(f"  indexed after {seconds:.0f} s", err=True)
        end = INDEXED_ROWS + NEW_ROWS
        bodies = self.data.as_packed(INDEXED_ROWS, end)
        beside, into = [], []
        for _ in range(ROUNDS):
            empty = await self.new()
            beside.append(NEW_ROWS / await _expect(empty.upload(bodies), inserted=NEW_ROWS))
            await empty.delete()
            into.append(NEW_ROWS / await _expect(client.upload(bodies), inserted=NEW_ROWS))
            for row in range(INDEXED_ROWS, end, BATCH):  # so few that the index need not be built again
                ids = self.data.ids[row : row + BATCH]
                await self.pool.execute(f"DELETE FROM embeddings_{client.project_id} WHERE text_id = ANY ($1)", ids)
            await self.pool.execute(f"VACUUM embeddings_{client.project_id}")
        await client.delete()
        self.add(
            f"upload into {INDEXED_ROWS:,} indexed rows, of into none",
            np.median(into), "rows/s", 0.7, limit=float(np.median(beside)),
        )  # fmt: skip

    async def exact_search(self) -> None:
        """The milliseconds of an exact search of 10,000 rows."""
        client = await self.new()
        await client.upload(self.data.as_packed(0, 10_000))
        searches = self.data.searches()
        taken = await each(lambda number: client.search(searches[number % QUERIES], "&exact=true"), 50)
        statement = (
            f"SELECT text_id, vector <=> $1 FROM embeddings_{client.project_id} ORDER BY vector <=> $1 LIMIT {LIMIT}"
        )
        binary = to_binary(self.data.queries)
        bare = await each(lambda number: self.pool.fetch(statement, binary[number % QUERIES]), 50)
        click.echo(f"  the bare statement: {np.median(bare):.2f} ms", err=True)
        await client.delete()
        self.add(
            f"exact search p50, 10,000 rows of {self.dimensions}", np.median(taken), "ms", 20, at_most=True,
        )  # fmt: skip

    async def indexed_searches(self) -> None:
        """Searches through the index: recall, milliseconds, searches per second; and during an upload."""
        client = await self.new()
        await client.upload(self.data.as_packed(0, len(self.data.ids)))
        state = await client.wait_for_index()
        click.echo(f"  {state}", err=True)
        searches, binary = self.data.searches(), to_binary(self.data.queries)
        found = [await client.search(body) for body in searches]
        wanted = [{self.data.ids[row] for row in neighbours} for neighbours in self.data.neighbours]
        recall = float(np.mean([len(want & set(ids)) / LIMIT for want, ids in zip(wanted, found, strict=True)]))
        self.add(f"recall@{LIMIT} at defaults, {self.data.kind}, indexed", recall, "", 0.99)

        async def through_http(number: int) -> None:
            await client.search(searches[number % QUERIES])

        statement = await self._bare(client, state["ef_search"])

        async def bare(number: int) -> None:
            await self.pool.fetch(statement, binary[number % QUERIES])

        limits, taken = [], []
        for _ in range(ROUNDS):
            limits.append(await each(bare, QUERIES))
            taken.append(await each(through_http, QUERIES))
        idle = float(np.median(taken))
        self.add(
            "search p50, indexed, of the bare statement", idle, "ms", 1.5, limit=float(np.median(limits)), at_most=True
        )
        p99 = [float(np.percentile(one, 99)) for one in (taken, limits)]
        click.echo(f"  p99: {p99[0]:.2f} ms, of the bare statement {p99[1]:.2f} ms", err=True)
        most, rates = [], []
        for _ in range(ROUNDS):  # in turn, because other work on the machine comes and goes
            most.append(await per_second(bare, 8, 3))
            rates.append(await per_second(through_http, 8, 3))
        self.add("searches by 8 clients, of 8 connections", np.median(rates), "1/s", 0.6, limit=float(np.median(most)))
        async with self._uploading():
            busy = await each(through_http, 4 * QUERIES)
        self.add("search p50 while another uploads, of idle", np.median(busy), "ms", 3, limit=idle, at_most=True)
        click.echo(f"  p99 while another uploads: {np.percentile(busy, 99):.2f} ms", err=True)
        at_limits = await filters.limits(client, self.data)
        self.add("least recall of 1, 10, 50 and 200 results", at_limits.recall, "", 0.99)
        await client.delete()

    async def filtered_searches(self) -> None:
        """Searches with filters that 90 to 0.01 % of the rows pass: recall and milliseconds."""
        masks = filters.described(self.data)
        client = await self.new()
        await client.upload(self.data.as_packed(0, len(self.data.ids)))
        await client.wait_for_index()
        found = await filters.filters(client, self.data, masks)
        self.add("least recall, 90 to 0.01 % pass a filter", found.recall, "", 0.99)
        self.add("recall told too high at most", found.overstated, "", 0.005, at_most=True)
        self.add("search p50, 1 % pass a filter", found.one_percent, "ms", 3, at_most=True)
        self.add("slowest filter, of the exact search", found.of_exact, "", 1.2, at_most=True)
        await client.delete()

    async def _bare(self, client: Client, ef_search: int) -> str:
        """The statement of a search and no more, on connections that are set as the service sets its own."""
        watermark = await self.pool.fetchval(
            "SELECT watermark FROM project_indexes WHERE project_id = $1", client.project_id
        )
        connections = [await self.pool.acquire() for _ in range(8)]
        for connection in connections:
            await connection.execute(f"SET hnsw.ef_search = {ef_search}")
        for connection in connections:
            await self.pool.release(connection)
        distance = f"vector::halfvec({self.dimensions}) <=> $1::halfvec({self.dimensions})"
        return (
            f"SELECT text_id, 1 - ({distance}) FROM embeddings_{client.project_id} WHERE sequence <= {watermark} "
            f"ORDER BY {distance} LIMIT {LIMIT}"
        )

    @asynccontextmanager
    async def _uploading(self) -> AsyncIterator[None]:
        """One client uploads at full rate meanwhile, into one new project after the other."""
        bodies = self.data.as_packed(0, NEW_ROWS)
        rows = 0

        async def upload() -> None:
            nonlocal rows
            while True:
                client = await self.new()
                for body in bodies:
                    await client.upload([body], clients=1)
                    rows += BATCH

        seconds = asyncio.get_running_loop().time()
        running = asyncio.create_task(upload())
        try:
            yield
        finally:
            running.cancel()
            rate = rows / (asyncio.get_running_loop().time() - seconds)
            click.echo(f"  uploaded meanwhile: {rate:,.0f} rows/s", err=True)

    async def _copy(self, rows: int) -> float:
        """The seconds of a binary COPY of `rows` rows into a table like a partition, a batch a transaction."""
        records = [
            (0, self.data.ids[row], row + 1, vector, self.data.text(row), msgspec.json.encode(self.data.metadata[row]))
            for row, vector in enumerate(to_binary(self.data.vectors[:rows]))
        ]
        columns = ["project_id", "text_id", "sequence", "vector", "text", "metadata"]
        async with self.pool.acquire() as connection:
            await connection.execute(
                "CREATE SCHEMA bench CREATE TABLE copied (LIKE public.embeddings INCLUDING ALL) "
                "WITH (toast_tuple_target = 8160)"
            )
            try:

                async def run() -> None:
                    for start in range(0, rows, BATCH):
                        some = records[start : start + BATCH]
                        await connection.copy_records_to_table(
                            "copied", schema_name="bench", columns=columns, records=some
                        )

                return await timed(run)
            finally:
                await connection.execute("DROP SCHEMA bench CASCADE")


async def _expect(upload: Any, **wanted: int) -> float:
    """The seconds of an upload. Raises when its answers do not add up."""
    seconds, counts = await upload
    if counts != {"inserted": 0, "updated": 0, "unchanged": 0, **wanted}:
        raise click.ClickException(f"The upload was not stored as sent: {counts}")
    return float(seconds)
