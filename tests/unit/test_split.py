"""Finding the rows of a body at a guess: when each piece is an object, they are the rows that a parser finds."""

import json
from typing import Any

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from service import decoding
from service.uploads import parse
from service.uploads.batch import EmbeddingsIn

TEXTS = st.sampled_from(["a", '},{"text_id"', '}, {"text_id":1}', '"]}', "\\", "]", 'x"},{"text_id":"y', "", "é"])
VALUES = st.recursive(
    TEXTS | st.integers(-9, 9) | st.none(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS | st.just("text_id"), inner, max_size=3),
    max_leaves=8,
)
ROWS = st.lists(
    st.fixed_dictionaries({"text_id": TEXTS}, optional={"metadata": VALUES, "text": TEXTS, "vector": VALUES}),
    max_size=5,
)


def parsed(rows: list[msgspec.Raw]) -> list[Any] | None:
    """The rows, when each is a whole JSON value."""
    try:
        return [msgspec.json.decode(row) for row in rows]
    except msgspec.DecodeError:
        return None


@given(ROWS, st.sampled_from([(",", ":"), (", ", ": "), (" ,\n", " : ")]), st.sampled_from([None, "first", "last"]))
@example([{"text_id": "a", "metadata": [{"text_id": 1}, {"text_id": 2}]}, {"text_id": "b"}], (",", ":"), None)
@example([{"text_id": "a"}, {"text_id": "b"}], (", ", ": "), "last")
async def test_what_is_cut_is_what_is_parsed(
    rows: list[Any], separators: tuple[str, str], encoding: str | None
) -> None:
    document: dict[str, Any] = {"embeddings": rows}
    if encoding == "first":
        document = {"encoding": "f2", **document}
    elif encoding == "last":
        document["encoding"] = "f2"
    body = json.dumps(document, separators=separators).encode()
    cut = await parse.cut(body)
    whole = await parse.split(body, decoding.JSON, parse.RawBatch, EmbeddingsIn, 100, 10)
    if cut is not None and (pieces := parsed(cut.embeddings)) is not None:
        assert pieces == parsed(whole.embeddings) == rows
        assert cut.encoding == whole.encoding


@pytest.mark.parametrize("separators", [(",", ":"), (", ", ": ")])
async def test_usual_bodies_are_cut(separators: tuple[str, str]) -> None:
    rows = [{"text_id": f"t{row}", "vector": [0.5, 1], "metadata": {"a": [{"b": row}]}} for row in range(300)]
    cut = await parse.cut(json.dumps({"embeddings": rows}, separators=separators).encode())
    assert cut is not None
    assert parsed(cut.embeddings) == rows


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{}",
        b"[]",
        b'{"embeddings":[]}',
        b'{"embeddings":[{"text_id":"a"}]} x',
        b'{"embeddings":[{"text_id":"a"}],"more":1}',
        b'{"more":1,"embeddings":[{"text_id":"a"}]}',
        b'{"encoding":"f2","embeddings":[{"text_id":"a"}],"encoding":"f4"}',
        b'{"embeddings":[1,2]}',
    ],
)
async def test_what_looks_otherwise_is_not_cut(body: bytes) -> None:
    assert await parse.cut(body) is None
