"""Users' JSON Schemas: compiled once, never fetching, never slow to refuse."""

import time

import msgspec
import pytest

from service import metadata
from service.metadata import BadSchema


def test_a_fault_has_its_path() -> None:
    validator = metadata.compiled('{"properties": {"authors": {"items": {"type": "string"}}}}')
    assert validator.fault({"authors": ["Kant", 7]}) == metadata.Fault(
        ".authors[1]", 'the value is not of type "string"'
    )
    assert validator.fault({"authors": ["Kant"]}) is None


def test_the_same_text_is_compiled_once() -> None:
    assert metadata.compiled('{"minimum": 1}') is metadata.compiled('{"minimum": 1}')


@pytest.mark.parametrize("draft", ["draft-04", "draft-06", "draft-07"])
def test_older_drafts(draft: str) -> None:
    validator = metadata.compiled(f'{{"$schema": "http://json-schema.org/{draft}/schema#", "required": ["a"]}}')
    assert validator.fault({}) is not None
    assert validator.fault({"a": 1}) is None


@pytest.mark.parametrize("draft", ["2019-09", "2020-12"])
def test_newer_drafts(draft: str) -> None:
    validator = metadata.compiled(f'{{"$schema": "https://json-schema.org/draft/{draft}/schema", "required": ["a"]}}')
    assert validator.fault({}) is not None


def test_a_reference_within_the_document() -> None:
    validator = metadata.compiled(
        '{"properties": {"a": {"$ref": "#/definitions/n"}}, "definitions": {"n": {"type": "number"}}}'
    )
    assert validator.fault({"a": "x"}) == metadata.Fault(".a", 'the value is not of type "number"')


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
    assert validator.fault({"a": "a" * 5000 + "b"}) is not None
    assert time.monotonic() - start < 1


def test_a_message_does_not_repeat_the_value() -> None:
    validator = metadata.compiled('{"properties": {"a": {"type": "number"}}}')
    fault = validator.fault({"a": "a secret value"})
    assert fault is not None
    assert "secret" not in fault.message
