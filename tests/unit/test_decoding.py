"""Every problem of a body is named and located."""

from collections.abc import Iterator
from typing import Annotated, Any

import msgspec
import msgspec.inspect
import pytest
from msgspec import Meta

from service import decoding
from service.api.routes import endpoints
from service.decoding import SECRET
from service.errors import BadRequest, Invalid, Problem


class Inner(msgspec.Struct, forbid_unknown_fields=True):
    name: Annotated[str, Meta(min_length=2)]
    size: int = 0


class Outer(msgspec.Struct, forbid_unknown_fields=True):
    items: list[Inner]
    title: str
    secret: Annotated[str, SECRET] | None = None
    numbers: list[float] | None = None
    mixed: list[str | Inner] | None = None


def problems(body: bytes) -> dict[str | None, tuple[str, str | None]]:
    with pytest.raises(Invalid) as caught:
        decoding.decode(body, Outer)
    return {one.location: (one.message, one.value) for one in caught.value.problems}


def test_all_problems_are_listed() -> None:
    found = problems(b'{"items": [{"name": "a"}, {"name": "bb", "size": "x"}, {"size": 1}, 7], "extra": 1}')
    assert found.keys() == {
        "body.items[0].name",
        "body.items[1].size",
        "body.items[2].name",
        "body.items[3]",
        "body.title",
        "body.extra",
    }
    assert found["body.items[0].name"] == ("Expected `str` of length >= 2", "a")
    assert found["body.items[1].size"] == ("Expected `int`, got `str`", "x")
    assert found["body.title"] == ("is required", None)


@pytest.mark.parametrize("name", [1, None, 1.5, b"x", (1, 2)])
def test_names_that_are_no_texts(name: Any) -> None:
    body = msgspec.msgpack.encode({"items": [{"name": "aa", name: 1}], "title": "t"})
    with pytest.raises(Invalid) as caught:
        decoding.decode(body, Outer, wire=decoding.MESSAGE_PACK)
    assert caught.value.problems == [Problem("must have texts as names only", "body.items[0]")]


def test_a_component_of_a_list_is_located() -> None:
    assert problems(b'{"items": [], "title": "t", "numbers": [1, "x", 2]}') == {
        "body.numbers[1]": ("Expected `float`, got `str`", "x")
    }


def test_a_struct_inside_a_union_is_walked() -> None:
    assert problems(b'{"items": [], "title": "t", "mixed": ["a", {"name": "bb", "nme": 1}]}').keys() == {
        "body.mixed[1].nme"
    }


def test_a_secret_is_not_repeated_and_neither_is_an_unknown_property() -> None:
    found = problems(b'{"items": [], "title": "t", "secret": 12345, "secrte": "12345"}')
    assert found.keys() == {"body.secret", "body.secrte"}
    assert "12345" not in str(found)


def test_an_object_is_never_repeated() -> None:
    found = problems(b'{"items": [], "title": {"key": "12345"}}')
    assert found["body.title"] == ("Expected `str`, got `object`", None)


def test_what_stands_for_a_whole_object_is_not_repeated() -> None:
    assert problems(b'"a key"') == {"body": ("Expected `object`, got `str`", None)}
    assert problems(b'{"items": ["a key"], "title": "t"}')["body.items[0]"] == ("Expected `object`, got `str`", None)


def test_an_unknown_property_is_located_in_a_body_with_too_many_values_to_list_all_problems() -> None:
    items = b",".join([b'{"name":"bb","nme":1}'] * 40_000)
    assert problems(b'{"title": "t", "items": [%s]}' % items) == {
        "body.items[0]": ("Object contains unknown field `nme`", None)
    }


def test_a_value_is_cut() -> None:
    found = problems(b'{"items": [{"name": "bb", "size": "%s"}], "title": "t"}' % (b"x" * 1000))
    assert found["body.items[0].size"][1] == "x" * 200


def test_at_most_a_hundred_problems() -> None:
    with pytest.raises(Invalid) as caught:
        decoding.decode(b'{"title": "t", "items": [%s]}' % b",".join([b"1"] * 500), Outer)
    assert len(caught.value.problems) == 100
    assert caught.value.problems[99].location == "body.items[99]"


@pytest.mark.parametrize(
    "body",
    [b"", b"{", b'{"title": "t', b"\xff", b'{"title": "\xff", "items": []}', b"[NaN]", b"[" * 200_000, b"{} x", b"'a'"],
)
def test_what_is_no_json_is_a_bad_request(body: bytes) -> None:
    with pytest.raises(BadRequest):
        decoding.decode(body, Outer)


class Query(msgspec.Struct):
    limit: Annotated[int, Meta(ge=1)] = 10
    text: str | None = None
    parts: list[str] | None = None


def test_query_parameters_become_what_the_field_wants() -> None:
    assert decoding.convert({"limit": "5", "text": "null", "parts": "a,b", "other": "x"}, Query, "query") == Query(
        5, "null", ["a", "b"]
    )


def test_all_problems_of_a_query_are_listed() -> None:
    class Two(msgspec.Struct):
        a: int
        b: Annotated[int, Meta(le=3)]

    with pytest.raises(Invalid) as caught:
        decoding.convert({"a": "x", "b": "4"}, Two, "query")
    assert [(one.location, one.value) for one in caught.value.problems] == [("query.a", "x"), ("query.b", "4")]


def unions(kind: msgspec.inspect.Type) -> Iterator[msgspec.inspect.UnionType]:
    """All unions within a type."""
    seen: set[type] = set()

    def walk(one: Any) -> Iterator[msgspec.inspect.UnionType]:
        if isinstance(one, msgspec.inspect.StructType):
            if one.cls in seen:
                return
            seen.add(one.cls)
            for field in one.fields:
                yield from walk(field.type)
        elif isinstance(one, msgspec.inspect.UnionType):
            yield one
            for inner in one.types:
                yield from walk(inner)
        else:
            for name in ("item_type", "key_type", "value_type", "type"):
                if (inner := getattr(one, name, None)) is not None:
                    yield from walk(inner)

    return walk(kind)


def test_no_struct_has_a_union_that_crashes_msgspec() -> None:
    """In 0.22 a text with a pattern, in a union with a list or an object, ends the process at the next error."""
    crashing = (msgspec.inspect.ListType, msgspec.inspect.DictType)
    found = set()
    looked_at = 0
    for one in endpoints:
        for kind in (one.path_type, one.query_type, one.body_type, one.patches, one.streams):
            if kind is None or not (isinstance(kind, type) and issubclass(kind, msgspec.Struct)):
                continue
            for union in unions(msgspec.inspect.type_info(kind)):
                looked_at += 1
                texts = [one for one in union.types if isinstance(one, msgspec.inspect.StrType) and one.pattern]
                if texts and any(isinstance(one, crashing) for one in union.types):
                    found.add(kind)
    assert looked_at > 20
    assert found == set()
