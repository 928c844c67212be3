"""Users' JSON Schemas: compiled once, never fetching, never slow to refuse."""

import time
from urllib.parse import quote

import msgspec
import pytest

from service import metadata
from service.metadata import BadSchema


def test_a_fault_has_its_path() -> None:
    validator = metadata.compiled('{"properties": {"authors": {"items": {"type": "string"}}}}')
    assert validator.fault({"authors": ["Kant", 7]}, 100) == metadata.Fault(
        ".authors[1]", 'the value is not of type "string"'
    )
    assert validator.fault({"authors": ["Kant"]}, 100) is None


def test_the_same_text_is_compiled_once() -> None:
    assert metadata.compiled('{"minimum": 1}') is metadata.compiled('{"minimum": 1}')


@pytest.mark.parametrize("draft", ["draft-04", "draft-06", "draft-07"])
def test_older_drafts(draft: str) -> None:
    validator = metadata.compiled(f'{{"$schema": "http://json-schema.org/{draft}/schema#", "required": ["a"]}}')
    assert validator.fault({}, 100) is not None
    assert validator.fault({"a": 1}, 100) is None


@pytest.mark.parametrize("draft", ["2019-09", "2020-12"])
def test_newer_drafts(draft: str) -> None:
    validator = metadata.compiled(f'{{"$schema": "https://json-schema.org/draft/{draft}/schema", "required": ["a"]}}')
    assert validator.fault({}, 100) is not None


def test_a_reference_within_the_document() -> None:
    validator = metadata.compiled(
        '{"properties": {"a": {"$ref": "#/definitions/n"}}, "definitions": {"n": {"type": "number"}}}'
    )
    assert validator.fault({"a": "x"}, 100) == metadata.Fault(".a", 'the value is not of type "number"')


@pytest.mark.parametrize("name", ["a name", "ä/ö", "50%", "~1"])
def test_a_reference_is_percent_encoded(name: str) -> None:
    pointer = quote(name.replace("~", "~0").replace("/", "~1"))
    schema = {"$ref": f"#/definitions/{pointer}", "definitions": {name: {"type": "string"}}}
    validator = metadata.compiled(msgspec.json.encode(schema).decode())
    assert validator.fault(1, 1) == metadata.Fault("", 'the value is not of type "string"')


@pytest.mark.parametrize(
    "schema",
    [
        "{",
        "[]",
        '"text"',
        '{"type": "nonsense"}',
        '{"$ref": "http://127.0.0.1:9/schema.json"}',
        '{"$ref": "file:///etc/passwd"}',
        '{"properties": {"a": {"$ref": "other.json#/x"}}}',
        '{"$ref": "#/definitions/missing"}',
        '{"$schema": "http://127.0.0.1:9/mine"}',
        '{"pattern": "(?=a)b"}',
        '{"pattern": "("}',
        "[" * 100_000,
        '{"not": ' * 40 + "{}" + "}" * 40,
        msgspec.json.encode({"description": "x" * 70_000}).decode(),
    ],
)
def test_what_is_refused(schema: str) -> None:
    with pytest.raises(BadSchema):
        metadata.compiled(schema)


def test_a_pattern_that_would_backtrack_for_ever_is_fast() -> None:
    validator = metadata.compiled('{"properties": {"a": {"pattern": "^(a+)+$"}}}')
    start = time.monotonic()
    assert validator.fault({"a": "a" * 5000 + "b"}, 100) is not None
    assert time.monotonic() - start < 1


def test_a_message_does_not_repeat_the_value() -> None:
    validator = metadata.compiled('{"properties": {"a": {"type": "number"}}}')
    fault = validator.fault({"a": "a secret value"}, 100)
    assert fault is not None
    assert "secret" not in fault.message


def doubling(times: int, *, encoded: bool = False) -> str:
    """A schema of so many definitions, each of which looks at the next one twice.

    `encoded`: by percent-encoded names, which are also those of definitions that look at nothing.
    """
    letter = "%64" if encoded else "d"
    reference = f"#/definitions/{letter}{{}}".format
    decoys = {f"{letter}{n}": True for n in range(times + 1)}
    steps = {f"d{n}": {"anyOf": [{"$ref": reference(n + 1)}] * 2} for n in range(times)}
    schema = {"$ref": reference(0), "definitions": {**decoys, **steps, f"d{times}": {"type": "string"}}}
    return msgspec.json.encode(schema).decode()


def chain(length: int) -> str:
    """A schema of so many definitions, each of which is the next one."""
    steps: dict[str, object] = {f"d{n}": {"$ref": f"#/$defs/d{n + 1}"} for n in range(length)}
    return msgspec.json.encode({"$ref": "#/$defs/d0", "$defs": {**steps, f"d{length}": {}}}).decode()


@pytest.mark.parametrize(
    "schema",
    [
        doubling(20),
        '{"properties": {"a": {"anyOf": [{"$ref": "#"}, {"$ref": "#"}]}}}',
        '{"patternProperties": {"a": {"$ref": "#"}, "b": {"$ref": "#"}}}',
        '{"items": {"allOf": [{"$ref": "#"}, {"$ref": "#"}]}}',
        '{"properties": {"a": {"$ref": "#"}}, "additionalProperties": {"$ref": "#"}}',
        '{"$defs": {"x": {"$anchor": "x", "items": {"allOf": [{"$ref": "#x"}, {"$ref": "#x"}]}}}, "$ref": "#x"}',
        '{"$defs": {"x": {"$id": "x", "type": "string"}}, "$ref": "#/$defs/x"}',
        '{"$ref": "#missing"}',
        '{"properties": {"a": {"$ref": "#"}}, "unevaluatedProperties": false}',
        doubling(40, encoded=True),
        '{"$ref": "#/$defs/%ff", "$defs": {"\ufffd": {}}}',
        # Below an $id a reference starts from there: this x is not the one that is seen from the root.
        '{"$ref": "#/$defs/o/y", "$defs": {"x": {}, "o": {"$id": "http://o", "y": {"$ref": "#/$defs/x"}, "$defs": '
        '{"x": {}}}}}',
        chain(1500),
    ],
)
def test_a_schema_that_could_take_for_ever_is_refused(schema: str) -> None:
    with pytest.raises(BadSchema):
        metadata.compiled(schema)


@pytest.mark.parametrize(
    "schema",
    [
        doubling(5),
        '{"$ref": "#"}',
        '{"allOf": [{"$ref": "#"}]}',
        '{"properties": {"left": {"$ref": "#"}, "right": {"$ref": "#"}}}',
        '{"properties": {"children": {"items": {"$ref": "#"}}}}',
        '{"$defs": {"x": {"$anchor": "x", "type": "string"}}, "properties": {"a": {"$ref": "#x"}}}',
        '{"properties": {"id": {"type": "string"}, "kind": {"oneOf": [{"const": "a"}, {"const": "b"}]}}}',
        '{"enum": [{"id": "x"}], "$id": "https://example.org/mine"}',
    ],
)
def test_what_is_harmless_is_taken_and_fast(schema: str) -> None:
    validator = metadata.compiled(schema)
    start = time.monotonic()
    deep: dict[str, object] = {}
    for _ in range(30):
        deep = {"left": deep, "a": "x"}
    validator.fault(deep, 500)
    assert time.monotonic() - start < 0.5


def test_the_worst_schema_and_document_that_are_taken_take_less_than_a_second() -> None:
    validator = metadata.compiled(doubling(7))
    assert 400 < validator.cost <= 1000
    document = {"values": [1] * 1000}
    size = len(msgspec.json.encode(document))
    start = time.monotonic()
    assert validator.fault(document, size) is not None
    assert time.monotonic() - start < 1
    assert validator.fault(document, 2_000_000) == metadata.Fault(
        "", f"more than the {2_000_000 // validator.cost} bytes that this schema can be applied to"
    )


def test_too_deep_a_document_is_a_fault() -> None:
    deep: dict[str, object] = {}
    for _ in range(40):
        deep = {"a": deep}
    assert metadata.compiled("{}").fault(deep, 300) == metadata.Fault("", "is nested more than 32 levels deep")
