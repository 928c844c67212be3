"""Users' JSON Schemas: applied in processes of their own, never fetching, never for long, never in much memory."""

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator
from contextlib import aclosing
from functools import reduce
from pathlib import Path
from typing import Any
from urllib.parse import quote

import msgspec
import pytest

from service.errors import Busy, Unavailable
from service.metadata.schemas import MAX_SCHEMA_BYTES, PROCESSES, BadSchema, Fault, Schemas, TooCostly
from tests.support.watched import command_line

pytestmark = pytest.mark.slow


@pytest.fixture(autouse=True)
def _apart(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("service.metadata.schemas.BATCH_SECONDS", 1.5)
    OTHERS.clear()
    OTHERS.update(children())


@pytest.fixture
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """A short time for a batch, where all of it is used, and for what counts as slow."""
    monkeypatch.setattr("service.metadata.schemas.BATCH_SECONDS", 0.5)
    monkeypatch.setattr("service.metadata.schemas.SLOW_SECONDS", 0.25)


@pytest.fixture
async def schemas() -> AsyncIterator[Schemas]:
    """Processes of the test's own."""
    async with aclosing(Schemas(wait=20)) as schemas:
        yield schemas


def text(schema: Any) -> str:
    return schema if isinstance(schema, str) else msgspec.json.encode(schema).decode()


async def fault(schemas: Schemas, schema: Any, document: Any, owner: str = "alice") -> Fault | None:
    (found,) = await schemas.faults(owner, text(schema), [msgspec.json.encode(document)])
    return found


OTHERS: set[int] = set()  # that were there before the test, of a service in this process


def children() -> set[int]:
    """The processes that the test has started and that have not been waited for; not those that make maps."""
    tasks = Path("/proc/self/task").iterdir()
    found = {int(one) for task in tasks for one in (task / "children").read_text().split()}
    return {one for one in found - OTHERS if not makes_maps(one)}


def makes_maps(number: int) -> bool:
    try:
        return "maps/worker" in command_line(number)
    except OSError:  # it has just ended
        return True


async def test_a_fault_has_its_path(schemas: Schemas) -> None:
    schema = {"properties": {"authors": {"items": {"type": "string"}}}}
    assert await fault(schemas, schema, {"authors": ["Kant", 7]}) == Fault(
        ".authors[1]", 'the value is not of type "string"'
    )
    assert await fault(schemas, schema, {"authors": ["Kant"]}) is None


async def test_each_document_has_its_place(schemas: Schemas) -> None:
    documents = [b'{"n":%d}' % (number % 3) for number in range(5000)]
    found = await schemas.faults("alice", '{"properties": {"n": {"maximum": 1}}}', documents)
    assert [place for place, one in enumerate(found) if one] == list(range(2, 5000, 3))


@pytest.mark.parametrize("draft", ["draft-04", "draft-06", "draft-07"])
async def test_older_drafts(schemas: Schemas, draft: str) -> None:
    schema = {"$schema": f"http://json-schema.org/{draft}/schema#", "required": ["a"]}
    assert await fault(schemas, schema, {}) is not None
    assert await fault(schemas, schema, {"a": 1}) is None


@pytest.mark.parametrize("draft", ["2019-09", "2020-12"])
async def test_newer_drafts(schemas: Schemas, draft: str) -> None:
    schema = {"$schema": f"https://json-schema.org/draft/{draft}/schema", "required": ["a"]}
    assert await fault(schemas, schema, {}) is not None


async def test_a_reference_within_the_document(schemas: Schemas) -> None:
    schema = {"properties": {"a": {"$ref": "#/definitions/n"}}, "definitions": {"n": {"type": "number"}}}
    assert await fault(schemas, schema, {"a": "x"}) == Fault(".a", 'the value is not of type "number"')


@pytest.mark.parametrize("name", ["a name", "ä/ö", "50%", "~1"])
async def test_a_reference_is_percent_encoded(schemas: Schemas, name: str) -> None:
    pointer = quote(name.replace("~", "~0").replace("/", "~1"))
    schema = {"$ref": f"#/definitions/{pointer}", "definitions": {name: {"type": "string"}}}
    assert await fault(schemas, schema, 1) == Fault("", 'the value is not of type "string"')


@pytest.mark.parametrize(
    ("schema", "why"),
    [
        ("{", "not JSON"),
        ("[]", "an object, true or false"),
        ('"text"', "an object, true or false"),
        ('{"type": "nonsense"}', ".type: "),
        ('{"$ref": "http://127.0.0.1:9/schema.json"}', "must stay in the document"),
        ('{"$ref": "file:///etc/passwd"}', "must stay in the document"),
        ('{"properties": {"a": {"$ref": "other.json#/x"}}}', "other.json"),
        ('{"$ref": "#/definitions/missing"}', "missing"),
        ('{"$schema": "http://127.0.0.1:9/mine"}', "127.0.0.1"),
        ('{"pattern": "(?=a)b"}', ".pattern: is not a regular expression"),
        ('{"pattern": "("}', ".pattern: is not a regular expression"),
        ('{"properties": {"a": {"pattern": "^\\\\p{L}{119}0"}}}', ".properties.a.pattern: .* too large"),
        ('{"patternProperties": {"^\\\\p{L}{119}0": {}}}', "too large|not a regular"),
        ("[" * 100_000, "65536 bytes"),
        ("[" * 10_000, "nested very deeply"),
        ({"description": "x" * 70_000}, "65536 bytes"),
    ],
)
async def test_what_is_refused(schemas: Schemas, schema: Any, why: str) -> None:
    with pytest.raises(BadSchema, match=why):
        await schemas.check("alice", text(schema))


async def test_a_pattern_that_would_backtrack_for_ever_is_fast(schemas: Schemas) -> None:
    assert await fault(schemas, {"properties": {"a": {"pattern": "^(a+)+$"}}}, {"a": "a" * 5000 + "b"}) is not None


async def test_a_message_does_not_repeat_the_value(schemas: Schemas) -> None:
    found = await fault(schemas, {"properties": {"a": {"type": "number"}}}, {"a": "a secret value"})
    assert found is not None
    assert "secret" not in found.message


def doubling(times: int) -> dict[str, Any]:
    """A schema of so many definitions, each of which looks at the next one twice."""
    steps = {f"d{n}": {"anyOf": [{"$ref": f"#/definitions/d{n + 1}"}] * 2} for n in range(times)}
    return {"$ref": "#/definitions/d0", "definitions": {**steps, f"d{times}": {"type": "string"}}}


def chain(length: int) -> dict[str, Any]:
    """A schema of so many definitions, each of which is the next one."""
    steps: dict[str, Any] = {f"d{n}": {"$ref": f"#/$defs/d{n + 1}"} for n in range(length)}
    return {"$ref": "#/$defs/d0", "$defs": {**steps, f"d{length}": {}}}


def twice(keyword: str) -> dict[str, Any]:
    """A schema that looks twice at what is nested, at each level."""
    return {"properties": {"a": {keyword: [{"$ref": "#"}, {"$ref": "#"}]}}, "additionalProperties": False}


def nested(levels: int) -> dict[str, Any]:
    return reduce(lambda inner, _: {"a": inner}, range(levels), {"b": 1})


MANY_NAMES = {f"a{n}": 1 for n in range(90_000)}
OBJECTS = [{"a": n} for n in range(4000)]
COSTLY = {
    "a pattern and a long text": ({"properties": {"a": {"pattern": "[01]*1[01]{12000}[^01]"}}}, {"a": "01" * 150_000}),
    "doubling references": (doubling(40), {}),
    "references to the whole, anyOf": (twice("anyOf"), nested(60)),
    "references to the whole, oneOf": (twice("oneOf"), nested(60)),
    "references to anchors": (
        {"$defs": {"x": {"$anchor": "x", "properties": {"a": {"allOf": [{"$ref": "#x"}] * 2}}}}, "$ref": "#x"},
        nested(60),
    ),
    "an enum of objects": ({"properties": {"a": {"items": {"enum": OBJECTS}}}}, {"a": [{"a": 3999}] * 90_000}),
    "unevaluated properties": (
        reduce(lambda inner, _: {"allOf": [inner], "unevaluatedProperties": {"type": "integer"}}, range(28), {}),
        MANY_NAMES,
    ),
    "very many errors": (
        {"oneOf": [{"properties": {"a": {"items": {"type": "string"}}}} for _ in range(1000)]},
        {"a": [1] * 400_000},
    ),
}
FOR_ANY_DOCUMENT = {"doubling references", "unevaluated properties"}


@pytest.mark.usefixtures("soon")
@pytest.mark.parametrize("name", COSTLY)
async def test_what_costs_too_much_to_apply(schemas: Schemas, name: str) -> None:
    schema, document = COSTLY[name]
    assert len(text(schema)) < MAX_SCHEMA_BYTES
    documents = [b"{}"] * 3000 + [msgspec.json.encode(document)]
    with pytest.raises(TooCostly, match=r"more than 0\.5 seconds|more than 128 MiB of memory") as refusal:
        await schemas.faults("alice", text(schema), documents)
    assert (refusal.value.first, refusal.value.last) == (3000, 3000) or name in FOR_ANY_DOCUMENT
    assert await fault(schemas, {"required": ["a"]}, {}) is not None  # it goes on


async def test_what_costs_too_much_to_compile(schemas: Schemas) -> None:
    schema = {"patternProperties": {rf"^\p{{L}}{{40}}{n}": True for n in range(900)}}
    with pytest.raises(BadSchema, match=r"more than 128 MiB of memory to compile|more than 2 seconds to compile"):
        await schemas.check("alice", text(schema))


@pytest.mark.parametrize(
    ("schema", "document"),
    [
        ({"properties": {"a": {"items": {"enum": OBJECTS}}}}, {"a": [{"b": n} for n in range(60_000)]}),
        ({"properties": {"a": {"uniqueItems": True}}}, {"a": [{"b": n} for n in range(60_000)]}),
        ({"properties": {"a": {"uniqueItems": True}}}, {"a": [[n] for n in range(90_000)]}),
        ({"properties": {"a": {"items": {"type": "object"}}}}, {"a": [{"": 0}] * 140_000}),
        ({"properties": {"a": {"items": {"type": "array"}}}}, {"a": [[]] * 349_000}),
        ({"dependentSchemas": {f"a{n}": {"required": ["b"]} for n in range(1000)}}, MANY_NAMES),
        ({"propertyNames": {"pattern": "^[a-z0-9]{1,20}$"}}, MANY_NAMES),
        ({"properties": {"a": {"contains": {"const": {"x": 1}}}}}, {"a": [{"b": n} for n in range(60_000)]}),
        ({"properties": {"a": {"items": {"const": "x" * 60_000}}}}, {"a": ["x" * 100] * 8000}),
        ({"required": [f"a{n}" for n in range(6000)]}, {}),
        ({"properties": {"a": {"type": "integer", "multipleOf": int("7" * 300)}}}, {"a": int("1" * 300)}),
        ({"properties": {"a": {"items": {"multipleOf": 1e-300}}}}, {"a": [1e300] * 10_000}),
        ({"$ref": "#"}, {}),
        ({"allOf": [{"$ref": "#"}]}, {}),
        ({"$id": "http://x/y", "$dynamicAnchor": "n", "anyOf": [{"$dynamicRef": "#n"}] * 2}, {}),
        (doubling(5), {}),
        (chain(1500), {}),
    ],
)
async def test_what_is_answered(schemas: Schemas, schema: Any, document: Any) -> None:
    await fault(schemas, schema, document)


async def test_an_integer_of_very_many_digits(schemas: Schemas) -> None:
    documents = [b'{"a":' + b"9" * 900_000 + b"}", b"{}"]
    found = await schemas.faults("alice", '{"properties": {"a": {"minimum": 3}}}', documents)
    assert found[1] is None


async def test_all_documents_of_a_batch_share_the_time(schemas: Schemas) -> None:
    documents = [msgspec.json.encode({"a": [{"a": 3999}] * 1500, "b": "x" * 250_000})] * 40
    start = time.process_time()
    with pytest.raises(TooCostly, match=r"more than 1\.5 seconds") as refusal:
        await schemas.faults("alice", text({"properties": {"a": {"items": {"enum": OBJECTS}}}}), documents)
    assert 0 < refusal.value.first < 40
    assert time.process_time() - start < 2  # of this process


async def test_one_owner_does_not_hold_up_another(schemas: Schemas, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("service.metadata.schemas.BATCH_SECONDS", 15)
    schema, document = COSTLY["doubling references"]
    slow = [asyncio.create_task(fault(schemas, schema, document)) for _ in range(3)]
    await asyncio.sleep(0.5)
    start = time.monotonic()
    for _ in range(20):
        await fault(schemas, {"required": ["a"]}, {}, owner="bob")
    assert time.monotonic() - start < 10
    assert not any(task.done() for task in slow[1:])
    assert len(children()) <= PROCESSES
    for task in slow:
        task.cancel()
    await asyncio.gather(*slow, return_exceptions=True)


@pytest.mark.usefixtures("soon")
async def test_turns_go_round() -> None:
    """Two owners who ask for much hold all processes; a third waits for one job of theirs, not for all."""
    schema, document = COSTLY["doubling references"]
    async with aclosing(Schemas(wait=60)) as schemas:
        slow = [asyncio.create_task(fault(schemas, schema, document, owner)) for owner in ("alice", "carol") * 3]
        await asyncio.sleep(0.2)
        await fault(schemas, {"required": ["a"]}, {}, owner="bob")
        # Those that were first, and what is done until a new process runs; after all of them it would be five.
        assert sum(task.done() for task in slow) <= 4
        for task in slow:
            task.cancel()
        await asyncio.gather(*slow, return_exceptions=True)


@pytest.mark.usefixtures("soon")
async def test_those_who_take_long_share_one_place(monkeypatch: pytest.MonkeyPatch) -> None:
    schema, document = COSTLY["doubling references"]
    async with aclosing(Schemas(wait=60)) as schemas:
        slow = ("alice", "carol", "dora")
        first = await asyncio.gather(
            *(fault(schemas, schema, document, owner) for owner in slow), return_exceptions=True
        )
        assert all(isinstance(one, TooCostly) for one in first)
        monkeypatch.setattr("service.metadata.schemas.BATCH_SECONDS", 30)  # nobody waits for it
        again = [asyncio.create_task(fault(schemas, schema, document, owner)) for owner in slow]
        await asyncio.sleep(0.2)
        for _ in range(10):
            await fault(schemas, {"required": ["a"]}, {}, owner="bob")
        assert not any(task.done() for task in again)
        for task in again:
            task.cancel()
        await asyncio.gather(*again, return_exceptions=True)
        assert await fault(schemas, {"required": ["a"]}, {}) is not None  # the place was given back


async def test_who_waits_too_long_is_told() -> None:
    schema, document = COSTLY["doubling references"]
    async with aclosing(Schemas(wait=1.0)) as schemas:
        slow = asyncio.create_task(fault(schemas, schema, document))
        await asyncio.sleep(0.1)
        with pytest.raises(Busy):
            await fault(schemas, schema, document)
        slow.cancel()
        await asyncio.gather(slow, return_exceptions=True)
        assert await fault(schemas, {"required": ["a"]}, {}) is not None  # the turn was given back


async def test_a_process_that_is_killed_is_replaced(schemas: Schemas) -> None:
    await fault(schemas, {}, {})
    for child in children():
        os.kill(child, signal.SIGKILL)
    assert await fault(schemas, {"required": ["a"]}, {}) is not None


async def test_processes_that_are_killed_again_and_again() -> None:
    schema, document = COSTLY["doubling references"]
    async with aclosing(Schemas(wait=5)) as schemas:
        asked = asyncio.create_task(fault(schemas, schema, document))
        while not asked.done():
            await asyncio.sleep(0.2)
            for child in children():
                os.kill(child, signal.SIGKILL)
        with pytest.raises(Unavailable):
            asked.result()


async def test_what_nobody_waits_for_is_ended(schemas: Schemas) -> None:
    schema, document = COSTLY["doubling references"]
    asked = asyncio.create_task(fault(schemas, schema, document))
    await asyncio.sleep(0.5)
    assert len(children()) == 1
    asked.cancel()
    await asyncio.gather(asked, return_exceptions=True)
    assert children() == set()


async def test_a_process_that_has_grown_is_replaced(schemas: Schemas) -> None:
    seen = set()
    for number in range(10):
        schema = {"properties": {f"a{n}": {"pattern": rf"^\p{{L}}{{3}}{number}x{n}"} for n in range(100)}}
        await schemas.check("alice", text(schema))
        await fault(schemas, schema, {})
        for child in children():
            assert resident(child) < 250 * 1024 * 1024
            seen.add(child)
    assert len(seen) > 1


def resident(process: int) -> int:
    """The bytes of memory of a process."""
    return int(Path(f"/proc/{process}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


async def test_a_process_knows_nothing_of_ours(schemas: Schemas) -> None:
    await fault(schemas, {}, {})
    (child,) = children()
    about = Path(f"/proc/{child}")
    names = {one.partition("=")[0] for one in (about / "environ").read_text().split("\0") if one}
    assert names == {"PYTHONPATH"}
    files = {str(one.readlink()).partition(":")[0] for one in (about / "fd").iterdir()}
    assert files <= {"socket", "/dev/null"}
    assert int((about / "oom_score_adj").read_text()) == 1000
