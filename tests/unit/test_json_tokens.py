"""Large JSON token by token: the same as msgspec makes of it at once."""

import math
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from service import json_tokens

FLOATS = st.floats(allow_nan=False, allow_infinity=False)
SCALARS = st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | FLOATS
TEXTS = st.text().filter(lambda text: "\0" not in text)
VALUES = st.recursive(SCALARS | TEXTS, lambda inner: st.lists(inner) | st.dictionaries(TEXTS, inner), max_leaves=30)


@pytest.mark.slow
@given(VALUES)
async def test_there_and_back(value: Any) -> None:
    text = msgspec.json.encode(value)
    assert msgspec.msgpack.decode(await json_tokens.to_msgpack(text)) == msgspec.json.decode(text)
    packed = msgspec.msgpack.encode(value)
    assert msgspec.json.decode(await json_tokens.from_msgpack(packed, 100)) == value
    await json_tokens.check(text, 100)


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ([math.nan], "not finite"),
        ({"a": {1: 2}}, "texts as names"),
        ({"a": b"bytes"}, "only values that JSON has"),
        (["\0"], "NUL"),
        ({"\0": 1}, "NUL"),
        ([[[[]]]], "3 levels"),
        ({"a": msgspec.msgpack.Ext(5, b"x")}, "only values that JSON has"),
    ],
)
async def test_what_has_no_form_in_json(value: Any, said: str) -> None:
    with pytest.raises(json_tokens.NoJson, match=said):
        await json_tokens.from_msgpack(msgspec.msgpack.encode(value), 3)


@pytest.mark.parametrize(
    ("text", "said"),
    [(b"[[[[]]]]", "3 levels"), (b'{"a": "\\u0000"}', "NUL"), (b'{"\\u0000": 1}', "NUL")],
)
async def test_what_cannot_be_stored(text: bytes, said: str) -> None:
    with pytest.raises(json_tokens.NoJson, match=said):
        await json_tokens.check(text, 3)


async def test_an_escaped_backslash_is_no_nul() -> None:
    await json_tokens.check(b'["\\\\u0000"]', 3)


@pytest.mark.parametrize("number", ["1e-400", "0E+400", "-1.5e-16000", "0e99999999999", "1." + "1" * 15_001])
async def test_numbers_that_postgresql_would_write_with_many_more_digits(number: str) -> None:
    with pytest.raises(json_tokens.NoJson, match="decimals"):
        await json_tokens.check(f'{{"n": [{number}]}}'.encode(), 3)


DOUBLES = ["5e-324", "-1.7976931348623157e+308", "0", "-0.0", "1e-0000300"]


@pytest.mark.parametrize("number", [*DOUBLES, "1." + "1" * 15_000])
async def test_numbers_that_are_stored(number: str) -> None:
    await json_tokens.check(f'{{"n": [{number}], "text": "1e-999", "": true}}'.encode(), 3)
