"""Digests are the same here and in the service, for whatever can be stored."""

from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from vecferry import AsyncClient, Rows
from vecferry.digests import canonical, digested, id_hash
from vecferry.names import path_to

from tests.client.conftest import DIMENSIONS

TEXT = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=20)
NUMBER = st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False, allow_infinity=False)
JSON = st.recursive(
    st.none() | st.booleans() | NUMBER | TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
    max_leaves=12,
)
ROW = st.tuples(
    st.lists(st.floats(-60000, 60000, width=16), min_size=DIMENSIONS, max_size=DIMENSIONS).filter(
        lambda vector: any(vector) and not any(one == 0 and str(one)[0] == "-" for one in vector)
    ),
    st.none() | TEXT,
    st.none() | st.dictionaries(TEXT, JSON, max_size=5),
)


@pytest.mark.slow
@given(sent=st.lists(ROW, min_size=1, max_size=8))
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
async def test_equal_rows_have_equal_digests(
    client: AsyncClient, project: str, sent: list[tuple[Any, Any, Any]]
) -> None:
    ids = [f"tëxt {place}" for place in range(len(sent))]
    vectors = np.array([vector for vector, _, _ in sent], np.float16)
    rows = Rows(0, ids, vectors, [text for _, text, _ in sent], [metadata for _, _, metadata in sent])
    handle = client.project(project)
    await handle.embeddings.delete(ids=[f"tëxt {place}" for place in range(8)])
    result = await handle.upload_rows(iter([rows]), progress=False)
    assert result.inserted == len(sent), result
    page = (await client._transport.answer("GET", path_to("embeddings", project, "digests"))).json()
    assert page["text_ids"] == ids
    ours = digested(rows)
    assert [int(one, 16) for one in page["vectors"]] == ours.parts[0].tolist()
    assert [int(one or "0", 16) for one in page["texts"]] == ours.parts[1].tolist()
    theirs = [int(one or "0", 16) for one in page["metadata"]]
    for place, (mine, other) in enumerate(zip(ours.parts[2].tolist(), theirs, strict=True)):
        assert mine == other, (rows.metadata or [])[place]


def test_canonical_json() -> None:
    value = {"bb": 1e-7, "a": [1e22, -0.0, 1.5, True, None], "": {"é": '\x1f\x7f"\\/'}}
    assert canonical(value) == (
        '{"": {"é": "\\u001f\x7f\\"\\\\/"}, "a": [10000000000000000000000, 0.0, 1.5, true, null], "bb": 0.0000001}'
    )


def test_the_hash_of_an_id_is_that_of_sha256() -> None:
    assert f"{id_hash('rose'):016x}" == "618d663af0f1ec88"  # as sha256sum says
