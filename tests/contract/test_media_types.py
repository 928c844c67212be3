"""Media types and content codings are understood however they are written, and an error names those that are right."""

import gzip
import json

import httpx2
import msgspec
import pytest

from service.api.routes import endpoints
from service.http.body import MERGE_PATCH
from service.http.endpoint import Endpoint
from tests.support.world import Headers, Project, batch, fetch, problem, refused, row, upload

WITH_BODY = [one for one in endpoints if one.body_type is not None or one.streams is not None]
BATCH = batch(row("a", [1, 2, 3]))


REFUSED = ["text/plain", "application/xml", "application/json; charset=latin-1", "application"]
# One of each way to read a body: as a whole, as a patch, a batch, a search, a stream.
EACH_WAY = ("post_user", "patch_project", "post_embeddings", "post_similars", "post_stream")


@pytest.mark.parametrize(
    ("one", "kind"),
    [
        pytest.param(one, kind, id=f"{one.name}-{kind}")
        for one in WITH_BODY
        for kind in (REFUSED if one.name in EACH_WAY else REFUSED[:1])
    ],
)
async def test_a_refused_type_is_told_the_right_ones(
    api: httpx2.AsyncClient, admin: Headers, own: Project, one: Endpoint, kind: str
) -> None:
    path = one.path.format(
        user=own.owner.handle,
        project=own.handle,
        instance=own.instance.handle,
        definition="none",
        standard="none",
        other="none",
    )
    right = ("application/json", MERGE_PATCH) if one.method == "PATCH" else one.consumes
    answer = await api.request(one.method, path, content=b"{}", headers={**admin, "Content-Type": kind})
    if one.error_body is not None:
        assert (answer.status_code, answer.json()["error"]["param"]) == (415, "header.content-type")
        return
    body = refused(answer, 415, "header.content-type")
    for text in (body["detail"], body["errors"][0]["message"]):
        assert all(f"{one}" in text for one in right), text
        assert text.count("application/") == len(right), text


def test_each_way_is_asked() -> None:
    assert set(EACH_WAY) <= {one.name for one in WITH_BODY}


async def test_json_to_a_stream_is_told_the_right_types(api: httpx2.AsyncClient, own: Project) -> None:
    answer = await api.post(f"{own.embeddings}/stream", json=BATCH, headers=own.owner.headers)
    detail = problem(answer, 415)["detail"]
    assert "application/x-ndjson" in detail
    assert "application/json" not in detail


@pytest.mark.parametrize("kind", ["APPLICATION/MSGPACK", "Application/Msgpack", "application/MSGPACK ; x=y"])
async def test_message_pack_is_understood_however_it_is_written(
    api: httpx2.AsyncClient, own: Project, kind: str
) -> None:
    headers = {**own.owner.headers, "Content-Type": kind, "Accept": kind}
    answer = await api.post(own.embeddings, content=msgspec.msgpack.encode(BATCH), headers=headers)
    assert answer.status_code == 201, answer.text
    assert answer.headers["content-type"] == "application/msgpack"
    assert msgspec.msgpack.decode(answer.content)["inserted"] == 1
    answer = await api.post(
        f"{own.embeddings}/stream", content=msgspec.msgpack.encode(row("b", [1, 2, 3])), headers=headers
    )
    assert json.loads(answer.text)["inserted"] == 1
    answer = await api.get(own.similar("a"), headers={**own.owner.headers, "Accept": f"text/html, {kind};Q=0.9"})
    assert answer.headers["content-type"] == "application/msgpack"


@pytest.mark.parametrize(
    ("kind", "path"),
    [
        ("Application/Json; Charset=UTF-8", ""),
        ('APPLICATION/JSON;CHARSET="Utf-8"', ""),
        ("Application/X-NDJson", "/stream"),
        ("APPLICATION/X-NDJSON; Charset=UTF8", "/stream"),
    ],
)
async def test_json_is_understood_however_it_is_written(
    api: httpx2.AsyncClient, own: Project, kind: str, path: str
) -> None:
    sent = BATCH["embeddings"][0] if path else BATCH
    headers = {**own.owner.headers, "Content-Type": kind}
    answer = await api.post(own.embeddings + path, content=json.dumps(sent), headers=headers)
    assert answer.json()["inserted"] == 1
    patched = await api.patch(
        own.path, content=b'{"description": "d"}', headers={**own.owner.headers, "Content-Type": MERGE_PATCH.upper()}
    )
    assert patched.status_code == 200


@pytest.mark.parametrize("coding", ["x-gzip", "X-GZip", "GZIP", "identity", "Identity", ""])
@pytest.mark.parametrize("path", ["", "/stream"])
async def test_a_coding_is_understood_however_it_is_written(
    api: httpx2.AsyncClient, own: Project, coding: str, path: str
) -> None:
    content = json.dumps(BATCH["embeddings"][0] if path else BATCH).encode()
    headers = {
        **own.owner.headers,
        "Content-Type": "application/x-ndjson" if path else "application/json",
        "Content-Encoding": coding,
    }
    sent = gzip.compress(content) if "gzip" in coding.lower() else content
    answer = await api.post(own.embeddings + path, content=sent, headers=headers)
    assert answer.json()["inserted"] == 1, answer.text
    assert len((await fetch(api, own.embeddings, own.owner.headers))["embeddings"]) == 1


@pytest.mark.parametrize("coding", ["br", "deflate", "gzip, gzip", "x-zstd"])
@pytest.mark.parametrize("path", ["", "/stream"])
async def test_another_coding_is_told_those_that_are_understood(
    api: httpx2.AsyncClient, own: Project, coding: str, path: str
) -> None:
    headers = {
        **own.owner.headers,
        "Content-Type": "application/x-ndjson" if path else "application/json",
        "Content-Encoding": coding,
    }
    answer = await api.post(own.embeddings + path, content=b"{}", headers=headers)
    body = refused(answer, 415, "header.content-encoding")
    assert "gzip, zstd" in body["errors"][0]["message"]
    assert answer.headers["accept-encoding"] == "gzip, zstd"


async def test_an_unknown_type_of_answer_is_json(api: httpx2.AsyncClient, own: Project) -> None:
    await upload(api, own, row("a", [1, 2, 3]))
    for accept in ("text/html", "*/*", "application/*", "APPLICATION/JSON", "application/msgpack;q=0"):
        answer = await api.get(own.embeddings, headers={**own.owner.headers, "Accept": accept})
        assert answer.headers["content-type"] == "application/json"
