"""No request of an allowed size keeps others waiting for more than 100 ms, or takes more than 300 MB.

Each is the worst of its kind, beside somebody who asks for /healthz all the time.
"""

import asyncio
import gzip
import json
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from typing import Any

import httpx2
import msgspec
import pytest

from tests.conftest import ADMIN
from tests.support import world
from tests.support.watched import LONGEST_WAIT, MEMORY, Watched, running
from tests.support.world import Project

pytestmark = [pytest.mark.alone, pytest.mark.slow, pytest.mark.timeout(300)]

TRIES = 6  # the machine may do other things meanwhile
SLOW = b"2.4703282292062327208e-324"
SHORT = b"5e-324"
LISTS = b'{"a": [' + b",".join([b"[]"] * 330_000) + b"]}"
MSGPACK = {"Content-Type": "application/msgpack", "Accept": "application/msgpack"}


@pytest.fixture(scope="module")
def process(new_database: Callable[..., str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[int, str]]:
    with running(new_database(), tmp_path_factory.mktemp("service")) as started:
        yield started


@asynccontextmanager
async def place(process: tuple[int, str], dimensions: int = 3) -> AsyncIterator[tuple[httpx2.AsyncClient, Project]]:
    async with httpx2.AsyncClient(base_url=process[1], timeout=120) as api:
        owner = await world.user(api, ADMIN)
        on = await world.instance(api, owner, dimensions=dimensions)
        yield api, await world.project(api, owner, on=on, public_read=True)


async def measured(
    process: tuple[int, str], ask: Callable[[], Any], statuses: set[int], capsys: pytest.CaptureFixture[str]
) -> None:
    """The best of a few tries is within the bounds; and it is answered as it should be."""
    waits = []
    for _ in range(TRIES):
        with Watched(process) as watched:
            answers = await ask()
        assert {answer.status_code for answer in answers} <= statuses, answers[0].text[:300]
        waits.append(watched.longest)
        with capsys.disabled():
            print(f"\n  waited {watched.longest * 1000:.0f} ms, grown by {watched.grown / 2**20:.0f} MiB", end="")
        assert watched.grown < MEMORY
        if watched.longest < LONGEST_WAIT:
            return
    raise AssertionError(f"others waited for {min(waits):.3f} s")


def vectors(number: bytes, dimensions: int, count: int) -> bytes:
    one = b"[" + b",".join([number] * dimensions) + b"]"
    return b'{"vectors": [' + b",".join([one] * count) + b"]}"


def batch(vector: bytes, count: int, rest: bytes = b"") -> bytes:
    rows = (b'{"text_id": "t%d", "vector": %b%b}' % (row, vector, rest) for row in range(count))
    return b'{"embeddings": [' + b",".join(rows) + b"]}"


@pytest.mark.parametrize(
    ("number", "dimensions"),
    [(SLOW, 500), (SHORT, 500), (b"0.12345678901234567", 500), (SLOW, 3)],  # of 3 no number is decoded
    ids=repr,
)
async def test_numbers_of_a_search(
    process: tuple[int, str], number: bytes, dimensions: int, capsys: pytest.CaptureFixture[str]
) -> None:
    async with place(process, 500) as (api, project):
        body = gzip.compress(vectors(number, dimensions, 1000 if dimensions == 3 else 200))
        headers = {"Content-Type": "application/json", "Content-Encoding": "gzip"}
        # Nobody in particular asks. Of another length they are not decoded; else they are too small for halves.
        await measured(
            process, lambda: several(api.post(project.similars, content=body, headers=headers)), {400, 422, 200}, capsys
        )


async def several(*asked: Any) -> list[httpx2.Response]:
    return list(await asyncio.gather(*asked))


@pytest.mark.parametrize("dimensions", [16_000, 1536])
@pytest.mark.parametrize("number", [SLOW, SHORT], ids=repr)
async def test_numbers_of_an_upload(
    process: tuple[int, str], number: bytes, dimensions: int, capsys: pytest.CaptureFixture[str]
) -> None:
    async with place(process, dimensions) as (api, project):
        vector = b"[1," + b",".join([number] * (dimensions - 1)) + b"]"
        body = batch(vector, 200_000 // dimensions)
        headers = {**project.owner.headers, "Content-Type": "application/json"}
        await measured(
            process, lambda: several(api.post(project.embeddings, content=body, headers=headers)), {201}, capsys
        )


async def test_very_many_rows(process: tuple[int, str], capsys: pytest.CaptureFixture[str]) -> None:
    async with place(process) as (api, project):
        body = batch(b"[1,2,3]", 100_000)
        headers = {**project.owner.headers, "Content-Type": "application/json"}
        await measured(
            process, lambda: several(api.post(project.embeddings, content=body, headers=headers)), {201}, capsys
        )
        rows = [{"text_id": f"t{n}", "vector": [1.0, 2.0, 3.0]} for n in range(100_000)]
        packed, headers = msgspec.msgpack.encode({"embeddings": rows}), {**project.owner.headers, **MSGPACK}
        await measured(
            process, lambda: several(api.post(project.embeddings, content=packed, headers=headers)), {201}, capsys
        )


async def test_large_metadata_is_sent(process: tuple[int, str], capsys: pytest.CaptureFixture[str]) -> None:
    async with place(process) as (api, project):
        headers = {**project.owner.headers, "Content-Type": "application/json"}
        body = batch(b"[1,2,3]", 8, b', "metadata": ' + LISTS)
        await measured(
            process, lambda: several(api.post(project.embeddings, content=body, headers=headers)), {201}, capsys
        )
        for inner, said in ((b"[" * 64 + b"]" * 64, "levels deep"), (b'"\\u0000"', "NUL")):
            bad = LISTS.replace(b"[[]", b"[" + inner, 1)
            answer = await api.post(
                project.embeddings, content=batch(b"[1,2,3]", 1, b', "metadata": ' + bad), headers=headers
            )
            assert (answer.status_code, answer.json()["errors"][0]["location"]) == (422, "body.embeddings[0].metadata")
            assert said in answer.text
        stored = (await api.get(f"{project.embeddings}/t1?", headers=headers)).json()
        assert stored["metadata"] == json.loads(LISTS)
        many = {"a": [[]] * 800_000, "b": {"c": [1, -2.5, None, True, "ü\n", {}]}}
        rows = [{"text_id": f"t{n}", "vector": [1.0, 2.0, 3.0], "metadata": many} for n in range(3)]
        packed, headers = msgspec.msgpack.encode({"embeddings": rows}), {**project.owner.headers, **MSGPACK}
        await measured(
            process, lambda: several(api.post(project.embeddings, content=packed, headers=headers)), {201}, capsys
        )
        answer = await api.get(f"{project.embeddings}/t2", headers=headers)
        assert msgspec.msgpack.decode(answer.content)["metadata"] == many


async def test_very_many_bad_rows(process: tuple[int, str], capsys: pytest.CaptureFixture[str]) -> None:
    async with place(process) as (api, project):
        headers = {**project.owner.headers, "Content-Type": "application/json"}
        for vector, rest in ((b"[1,2]", b""), (b"[0,0,0]", b""), (b'["a"]', b""), (b"[1,2,3]", b', "more": 1')):
            body = batch(vector, 100_000, rest)
            ask = lambda body=body: several(api.post(project.embeddings, content=body, headers=headers))  # noqa: E731
            await measured(process, ask, {400, 422}, capsys)


async def test_large_metadata_is_shown(process: tuple[int, str], capsys: pytest.CaptureFixture[str]) -> None:
    async with place(process) as (api, project):
        headers = {**project.owner.headers, "Content-Type": "application/json"}
        for start in range(0, 22, 11):
            places = range(start, start + 11)
            rows = b",".join(b'{"text_id": "t%d", "vector": [1,2,3], "metadata": %b}' % (row, LISTS) for row in places)
            stored = await api.post(project.embeddings, content=b'{"embeddings": [' + rows + b"]}", headers=headers)
            assert stored.status_code == 201, stored.text
        # As objects 10 rows would take 180 MB. MessagePack is made of JSON token by token, which takes its time.
        for accept, rows_shown, at_once in (("application/json", 20, 4), ("application/msgpack", 10, 2)):
            wanted = {**project.owner.headers, "Accept": accept}

            async def ask(
                wanted: dict[str, str] = wanted, limit: int = rows_shown, times: int = at_once
            ) -> list[httpx2.Response]:
                page = f"{project.embeddings}?limit={limit}"
                answers = await several(*[api.get(page, headers=wanted) for _ in range(times)])
                answers.append(await api.get(f"{project.embeddings}/t1", headers=wanted))
                query = {"vector": [1, 2, 3], "include": ["metadata"]}
                answers.append(await api.post(f"{project.similars}?limit={limit // 4}", json=query, headers=wanted))
                query = {"vectors": [[1, 2, 3]] * 2, "include": ["metadata"]}
                answers.append(await api.post(f"{project.similars}?limit={limit // 4}", json=query, headers=wanted))
                return answers

            await measured(process, ask, {200, 503}, capsys)
        with Watched(process) as watched:
            assert (await api.get("/v1/admin/sanity-check", headers=ADMIN)).status_code == 200
        assert watched.grown < MEMORY


async def test_very_many_texts_to_embed(process: tuple[int, str], capsys: pytest.CaptureFixture[str]) -> None:
    async with place(process) as (api, project):
        count, path = 2**21 - 20, f"{project.owner.handle}/{project.body['instance_handle']}"
        packed = b"\x81\xa5input\xdd" + (2 * count).to_bytes(4, "big") + b"\xa1a" * (2 * count)
        for route, body, kind in (
            (f"/v1/llm-instances/{path}/embed", b'{"input":[' + b'"a",' * count + b'"a"]}', "json"),
            (f"/v1/llm-instances/{path}/embed", packed, "msgpack"),
            (f"/v1/openai/{path}/embeddings", b'{"model":"m","input":[' + b'"a",' * count + b'"a"]}', "json"),
            (
                f"/v1/texts{project.embeddings.removeprefix('/v1/embeddings')}",
                b'{"texts":[%b0]}' % (b"0," * count),
                "json",
            ),
        ):
            headers = {**project.owner.headers, "Content-Type": f"application/{kind}"}
            ask = lambda route=route, body=body, headers=headers: several(  # noqa: E731
                api.post(route, content=body, headers=headers)
            )
            await measured(process, ask, {413, 422}, capsys)


@pytest.mark.parametrize("size", [200, 500, 1020])
async def test_what_is_wrong_with_a_large_body(
    process: tuple[int, str], size: int, capsys: pytest.CaptureFixture[str]
) -> None:
    async with place(process) as (api, project):
        headers = {**project.owner.headers, "Content-Type": "application/json"}
        lists = b",".join([b"[]"] * (size * 1024 // 3))
        handles = b",".join([b'"a"'] * (size * 1024 // 4 - 100))
        for field, value in (
            ("shared_with", b"[%b]" % lists),
            ("shared_with", b"[%b]" % handles),
            ("metadataScheme", b'{"a": [%b]}' % lists),
        ):
            body = json.dumps({**project.body, field: "@"}).encode().replace(b'"@"', value)
            ask = lambda body=body: several(api.put(project.path, content=body, headers=headers))  # noqa: E731
            await measured(process, ask, {413, 422}, capsys)
        rows = batch(b"[1,2,3]", 1, b', "text": 5, "metadata": {"a": [%b]}' % lists)
        await measured(
            process, lambda: several(api.post(project.embeddings, content=rows, headers=headers)), {422}, capsys
        )


async def test_large_vectors_and_many_results_are_shown(
    process: tuple[int, str], capsys: pytest.CaptureFixture[str]
) -> None:
    async with place(process, 16_000) as (api, project):
        headers = {**project.owner.headers, "Content-Type": "application/json"}
        vector = b"[" + b",".join([b"0.1234"] * 16_000) + b"]"
        for start in range(4):
            body = batch(vector, 50).replace(b': "t', b': "t%d-' % start)
            assert (await api.post(project.embeddings, content=body, headers=headers)).status_code == 201
        for accept in ("application/json", "application/msgpack"):
            wanted = {**project.owner.headers, "Accept": accept}
            ask = lambda wanted=wanted: several(api.get(f"{project.embeddings}?limit=200", headers=wanted))  # noqa: E731
            await measured(process, ask, {200}, capsys)
    async with place(process) as (api, project):
        await world.upload(api, project, *(world.row(f"r{n}", [1, n + 1, 2]) for n in range(200)))
        body = json.dumps({"vectors": [[1, 2, 3]] * 1000}).encode()
        for accept in ("application/json", "application/msgpack"):
            wanted = {**project.owner.headers, "Content-Type": "application/json", "Accept": accept}
            path = f"{project.similars}?limit=200&threshold=-1"
            ask = lambda wanted=wanted, path=path: several(api.post(path, content=body, headers=wanted))  # noqa: E731
            await measured(process, ask, {200}, capsys)


async def test_a_map_of_as_many_points_as_there_may_be(
    process: tuple[int, str], capsys: pytest.CaptureFixture[str]
) -> None:
    async with place(process) as (api, project):
        rows = [
            {"text_id": f"text-{n:08}", "vector": [1, n % 311, n % 17], "metadata": {"a": "x" * 64}}
            for n in range(50_000)
        ]
        for start in ("", "other-"):
            sent = [row | {"text_id": start + row["text_id"]} for row in rows]
            content = msgspec.msgpack.encode({"embeddings": sent})
            headers = project.owner.headers | {"Content-Type": "application/msgpack"}
            assert (await api.post(project.embeddings, content=content, headers=headers)).status_code == 201
        while (await api.get(f"{project.path}/map?limit=1", headers=ADMIN)).status_code == 202:
            await asyncio.sleep(0.5)

        async def ask() -> list[httpx2.Response]:
            accepted = ("application/json", "application/msgpack")
            return [await api.get(f"{project.path}/map?field=a", headers={"Accept": one}) for one in accepted]

        await measured(process, ask, {200}, capsys)
        await api.delete(project.embeddings, headers=project.owner.headers)  # ends the layout by neighbours
