"""What a small request may cost: never much memory, never a long pause for all others, never a 500."""

import asyncio
import gzip
import time
import tracemalloc
from collections.abc import Awaitable, Callable, Iterator
from contextlib import aclosing
from typing import Any

import httpx2
import msgspec
import pytest

from service import decoding
from service.api.projects import ProjectIn
from service.api.similars import SearchIn
from service.errors import ApiError, BadRequest, Invalid
from service.http import compression
from service.http.compression import zstd
from service.metadata.schemas import Schemas
from service.queries.projects import ProjectAccess
from service.uploads import batch, texts
from service.uploads.store import checked, store_batch
from tests.support import world
from tests.support.world import Headers, Project

pytestmark = pytest.mark.slow

LONGEST_PAUSE = 1.0  # in seconds of a processor: all of these took two and more, or took for ever
MEMORY = 64 * 1024 * 1024


def storage(schema: Any = None) -> ProjectAccess:
    text = None if schema is None else msgspec.json.encode(schema).decode()
    return ProjectAccess(1, "owner", "project", "owner", "owner", "owner", "instance", 3, text, None, [], [])


async def refused(run: Callable[[], Awaitable[object]]) -> ApiError:
    """The refusal of what a client sends; others get their turn meanwhile, and little memory is taken."""
    longest, last = 0.0, time.process_time()
    done = asyncio.Event()

    async def others() -> None:
        nonlocal longest, last
        while not done.is_set():
            await asyncio.sleep(0)
            now = time.process_time()
            longest, last = max(longest, now - last), now

    waiting = asyncio.create_task(others())
    await asyncio.sleep(0)
    with pytest.raises(ApiError) as refusal:
        await run()
    await asyncio.sleep(0)
    done.set()
    await waiting
    assert longest < LONGEST_PAUSE
    return refusal.value


async def memory_of(run: Callable[[], Awaitable[object]]) -> int:
    """The most bytes that Python's objects take meanwhile."""
    tracemalloc.start()
    try:
        with pytest.raises(ApiError):
            await run()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


async def uploaded(project: ProjectAccess, body: bytes) -> None:
    async with aclosing(Schemas(wait=10)) as schemas:
        await store_batch(None, await checked(schemas, project, body, decoding.JSON))  # type: ignore[arg-type]


def rows(one: bytes, count: int) -> bytes:
    return b'{"embeddings":[' + b",".join([one] * count) + b"]}"


ZEROS = b"[" + b",".join([b"0"] * 500_000) + b"]"


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        (SearchIn, b'{"include":' + ZEROS + b"}"),
        (ProjectIn, b'{"shared_with":' + ZEROS + b"}"),
        (batch.EmbeddingsIn, b'{"embeddings":' + ZEROS + b"}"),
        (SearchIn, b'{"vector":' + ZEROS[:-1] + b',"0"]}'),
    ],
)
async def test_a_long_list_of_wrong_values(kind: Any, body: bytes) -> None:
    async def run() -> None:
        decoding.decode(body, kind)

    refusal = await refused(run)
    assert 1 <= len(refusal.problems) <= 100


@pytest.mark.parametrize(
    "begin", [b"", b"{", b'{"encoding":"f4",', b'{"embeddings":', b'{"embeddings":[', b'{"embeddings":[{']
)
async def test_white_space(begin: bytes) -> None:
    await refused(lambda: uploaded(storage(), begin + b" " * (64 * 1024 * 1024)))


async def test_many_objects_in_a_few_rows() -> None:
    metadata = b'{"a":[' + b",".join([b"{}"] * 349_000) + b"]}"
    sent = [b'{"text_id":"%d","vector":[1,2,3],"metadata":%b}' % (row, metadata) for row in range(3)]
    async with aclosing(Schemas(wait=10)) as schemas:
        found = await checked(schemas, storage(), b'{"embeddings":[' + b" ,\n".join(sent) + b"]}", decoding.JSON)
    assert (found.ids, found.bad) == (["0", "1", "2"], {})


@pytest.mark.parametrize("field", ["vector", "metadata"])
async def test_a_field_that_is_too_large(field: str) -> None:
    large = {"vector": b"[" + b"0," * 600_000 + b"0]", "metadata": b'{"a":"' + b"x" * 1024 * 1024 + b'"}'}
    one = {b"vector": b"[1,2,3]", b"metadata": b"{}", field.encode(): large[field]}
    body = b",".join(b'"%b":%b' % (name, value) for name, value in one.items())
    refusal = await refused(lambda: uploaded(storage(), rows(b'{"text_id":"t",%b}' % body, 1)))
    (problem,) = refusal.problems
    assert (problem.location, problem.message) == (f"body.embeddings[0].{field}", "text_id 't': is too large")


async def test_a_list_of_anything_but_texts() -> None:
    body = b'{"texts":[' + b"0," * (4 * 1024 * 1024) + b"0]}"
    assert await memory_of(lambda: texts.checked(storage(), body, 1000, decoding.JSON)) < MEMORY
    assert isinstance(await refused(lambda: texts.checked(storage(), body, 1000, decoding.JSON)), Invalid)


async def test_many_rows_with_many_problems() -> None:
    names = b",".join(b'"%c%c%c":0' % (a, b, c) for a in b"abcde" for b in b"abcde" for c in b"abcd")
    body = rows(b'{"text_id":"a","vector":[1,2,3],%s}' % names, 2000)
    refusal = await refused(lambda: uploaded(storage(), body))
    assert isinstance(refusal, Invalid)
    assert "problems in 2000 embeddings" in refusal.detail
    assert len(refusal.problems) == 100
    assert await memory_of(lambda: uploaded(storage(), body)) < len(body) + MEMORY


async def test_a_schema_is_not_repeated_for_each_row() -> None:
    project = storage({"properties": {"a": {"const": "x" * 60_000}}})
    body = b'{"embeddings":[%s]}' % b",".join(
        b'{"text_id":"%d","vector":[1,2,3],"metadata":{"a":0}}' % number for number in range(5000)
    )
    refusal = await refused(lambda: uploaded(project, body))
    assert isinstance(refusal, BadRequest)
    assert "5000 problems" in refusal.detail
    assert sum(len(problem.message) for problem in refusal.problems) < 100_000
    assert await memory_of(lambda: uploaded(project, body)) < MEMORY


async def test_large_metadata_gives_others_their_turn() -> None:
    one = b'{"text_id":"%d","vector":[1,2,3],"metadata":{"a":[' + b",".join([b"[]"] * 300_000) + b"]}}"
    sent = [msgspec.Raw(one.replace(b"%d", b"%d" % number)) for number in range(16)]
    wrong = batch.Batch(storage())

    async def run() -> None:
        await wrong.decode(sent)
        raise BadRequest  # for `refused`: there is nothing wrong with them

    await refused(run)
    assert len(wrong.rows) == 16


@pytest.mark.parametrize("encoding", ["gzip", "zstd"])
def test_parts_without_content(encoding: str) -> None:
    def parts(empty: int) -> Iterator[bytes]:
        pack = gzip.compress if encoding == "gzip" else zstd.compress
        for _ in range(3):
            yield pack(b"") * empty + pack(b"content")

    decompressor = compression.Decompressor(encoding)
    assert b"".join(out for part in parts(900) for out in decompressor.feed(part)) == b"content" * 3
    decompressor.finish()
    decompressor = compression.Decompressor(encoding)
    with pytest.raises(BadRequest, match="empty"):
        list(decompressor.feed(next(parts(1100))))


@pytest.fixture
async def place(api: httpx2.AsyncClient, admin: Headers) -> Project:
    return await world.project(api, await world.user(api, admin))


def nested(levels: int, value: str = "1") -> str:
    """JSON of an object of so many levels with the value in it."""
    return '{"a":' * (levels - 1) + value + "}" * (levels - 1)


LEVELS = [65, 300, 600, 900, 930, 945, 960, 990, 5000, 100_000]


@pytest.mark.parametrize("levels", LEVELS)
@pytest.mark.parametrize("value", ["1", '"\\u0000"'])
async def test_metadata_of_too_many_levels(api: httpx2.AsyncClient, place: Project, levels: int, value: str) -> None:
    record = '{"text_id":"a","vector":[1,2,3],"metadata":' + nested(levels, value) + "}"
    body = f'{{"embeddings":[{record}]}}'
    headers = {**place.owner.headers, **world.JSON_TYPE}
    answer = await api.post(place.embeddings, content=body, headers=headers)
    assert answer.status_code in (400, 422), answer.text
    assert "nested" in answer.text
    assert levels > 900 or "more than 64 levels" in answer.text
    streamed = await api.post(
        f"{place.embeddings}/stream", content=record, headers={**headers, "Content-Type": "application/x-ndjson"}
    )
    last = msgspec.json.decode(streamed.text.splitlines()[-1])
    assert (last["rows"], last["inserted"]) == (last["rejected"], 0)
    assert "nested" in streamed.text
    if levels < 900:  # deeper is nothing that the client could encode
        packed = msgspec.msgpack.encode(msgspec.json.decode(body))
        kind = {"Content-Type": "application/msgpack"}
        answer = await api.post(place.embeddings, content=packed, headers={**headers, **kind})
        assert answer.status_code == 422, answer.text


async def test_metadata_of_as_many_levels_as_may_be(api: httpx2.AsyncClient, place: Project) -> None:
    deep = msgspec.json.decode(nested(64))
    await world.upload(api, place, world.row("a", [1, 2, 3], metadata=deep))
    for accept in ("application/json", "application/msgpack"):
        answer = await api.get(place.embeddings, headers={**place.owner.headers, "Accept": accept})
        assert answer.status_code == 200, answer.text


@pytest.mark.parametrize(("text", "fits"), [("\x01" * 9_000_000, False), ("\n" * 9_000_000, True), ("\x01" * 10, True)])
async def test_a_text_that_is_much_longer_in_json(text: str, fits: bool) -> None:
    body = msgspec.msgpack.encode({"embeddings": [{"text_id": "a", "vector": [1, 2, 3], "text": text}]})
    async with aclosing(Schemas(wait=10)) as schemas:
        found = await checked(schemas, storage(), body, decoding.MESSAGE_PACK)
    assert [problem.message.partition(":")[0] for problem in found.bad.get(0, [])] == (
        [] if fits else ["has too many control characters"]
    )


# PostgreSQL refuses the second one; of ten thousand of the first it would make 160 MB, in each answer.
@pytest.mark.parametrize("number", ["1e-16000", "1e-20000"])
async def test_metadata_with_numbers_that_become_long(api: httpx2.AsyncClient, place: Project, number: str) -> None:
    metadata = '{"a":[' + ",".join([number] * 10) + '],"b":"' + "x" * 70_000 + '"}'
    body = '{"embeddings":[{"text_id":"a","vector":[1,2,3],"metadata":' + metadata + "}]}"
    answer = await api.post(place.embeddings, content=body, headers={**place.owner.headers, **world.JSON_TYPE})
    assert answer.status_code == 422, answer.text
    assert "exponent" in answer.text


@pytest.mark.parametrize("levels", [33, 300, 600, 900, 5000])
@pytest.mark.parametrize("form", ["an object", "a text"])
async def test_a_schema_of_many_levels(api: httpx2.AsyncClient, place: Project, levels: int, form: str) -> None:
    schema = nested(levels) if form == "an object" else msgspec.json.encode(nested(levels)).decode()
    body = msgspec.json.encode(place.body).decode()[:-1] + f',"metadataScheme":{schema}}}'
    answer = await api.put(place.path, content=body, headers={**place.owner.headers, **world.JSON_TYPE})
    assert answer.status_code in ((201,) if levels == 33 else (400, 422) if levels == 5000 else (201, 400, 422))


async def test_deep_metadata_under_a_schema(api: httpx2.AsyncClient, place: Project) -> None:
    schema = {"metadataScheme": {"properties": {"a": {"$ref": "#"}}, "required": ["a"]}}
    assert (await api.patch(place.path, json=schema, headers=place.owner.headers)).status_code == 200
    body = '{"embeddings":[{"text_id":"a","vector":[1,2,3],"metadata":' + nested(64, '"x"') + "}]}"
    answer = await api.post(place.embeddings, content=body, headers={**place.owner.headers, **world.JSON_TYPE})
    assert answer.status_code == 201, answer.text
    body = body.replace('"x"', '{"a":1}')
    answer = await api.post(place.embeddings, content=body, headers={**place.owner.headers, **world.JSON_TYPE})
    assert answer.status_code == 422, answer.text
    assert "64 levels" in answer.text


@pytest.mark.parametrize("operator", ["$or", "$and"])
async def test_a_filter_of_many_empty_ones(api: httpx2.AsyncClient, place: Project, operator: str) -> None:
    await world.upload(api, place, world.row("a", [1, 2, 3], metadata={"n": 1}))

    async def found(count: int) -> httpx2.Response:
        body = {"vector": [1, 2, 3], "filter": {operator: [{}] * count}}
        return await api.post(place.similars, json=body, headers=place.owner.headers)

    assert [one["id"] for one in (await found(100)).json()["results"]] == ["a"]
    refusal = await found(15_000)
    assert refusal.status_code == 422, refusal.text
    assert "exceeds the limit of 100 conditions" in refusal.text


async def test_a_number_that_messagepack_has_not(api: httpx2.AsyncClient, place: Project) -> None:
    await world.upload(api, place, world.row("a", [1, 2, 3], metadata={"n": [1e300, -1e300, 2**53]}))
    answer = await api.get(place.embeddings, headers={**place.owner.headers, "Accept": "application/msgpack"})
    assert answer.status_code == 200, answer.text
    (one,) = msgspec.msgpack.decode(answer.content)["embeddings"]
    assert one["metadata"] == {"n": [1e300, -1e300, 2**53]}


async def test_a_number_that_is_no_double(api: httpx2.AsyncClient, place: Project) -> None:
    body = '{"embeddings":[{"text_id":"a","vector":[1,2,3],"metadata":{"n":1%s}}]}' % ("0" * 400)
    sent = await api.post(place.embeddings, content=body, headers={**place.owner.headers, **world.JSON_TYPE})
    assert sent.status_code in (201, 400, 422), sent.text
    answer = await api.get(place.embeddings, headers={**place.owner.headers, "Accept": "application/msgpack"})
    assert answer.status_code == 200, answer.text


async def test_a_name_is_not_repeated_whole(api: httpx2.AsyncClient, place: Project) -> None:
    body = '{"embeddings":[{"text_id":"a","vector":[1,2,3],"%s":0}]}' % ("x" * 3_000_000)
    answer = await api.post(place.embeddings, content=body, headers={**place.owner.headers, **world.JSON_TYPE})
    assert answer.status_code == 422
    assert len(answer.content) < 5000


@pytest.mark.parametrize("number", [float("inf"), float("nan")])
@pytest.mark.parametrize("operator", ["$eq", "$gt", "$in"])
async def test_a_filter_with_a_number_that_is_not_finite(
    api: httpx2.AsyncClient, place: Project, number: float, operator: str
) -> None:
    body = {"vector": [1.0, 2.0, 3.0], "filter": {"n": {operator: [number] if operator == "$in" else number}}}
    headers = {**place.owner.headers, "Content-Type": "application/msgpack"}
    answer = await api.post(place.similars, content=msgspec.msgpack.encode(body), headers=headers)
    assert answer.status_code == 422, answer.text


async def test_a_page_of_long_texts(api: httpx2.AsyncClient, place: Project) -> None:
    for name in "abc":
        await world.upload(api, place, world.row(name, [1, 2, 3], text=name * 1_500_000))
    page = await api.get(place.embeddings, headers=place.owner.headers)
    assert page.status_code == 422, page.text[:200]
    assert "4,500,006" in page.text  # with quotes
    assert "lower `limit`" in page.text
    for path in (f"{place.embeddings}?limit=2", f"{place.embeddings}?include=vector", place.embedding("a")):
        answer = await api.get(path, headers=place.owner.headers)
        assert answer.status_code == 200, answer.text[:200]
