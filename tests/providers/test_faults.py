"""What a provider can do wrong: the status, what was stored (nothing), what the ledger says, and no key anywhere."""

import asyncio
import logging
import re
from collections.abc import AsyncIterator
from typing import Any

import httpx2
import pytest

from service.providers import limits, remote
from service.providers.limits import MOST_TOKENS
from tests.conftest import serving, settings_for
from tests.providers.conftest import Lent, lent
from tests.support.provider import KEY, Provider
from tests.support.world import Headers, problem

pytestmark = pytest.mark.slow

TEXTS = {"a": "one two", "b": "three"}

# fault -> status, calls, failures in the ledger, tokens in the ledger, words of the detail, seconds of Retry-After
TABLE: dict[str, tuple[int, int, int, int, str, int | None]] = {
    "key-repeated": (424, 1, 1, 0, "refuses the key (401): its owner can set another", None),
    "key-repeated-otherwise": (424, 1, 1, 0, "refuses the call (418)", None),
    "key-of-gemini": (424, 1, 1, 0, "refuses the key (400)", None),
    "forbidden": (424, 1, 1, 0, "refuses the key (403)", None),
    "unknown-model": (424, 1, 1, 0, "The model `m` does not exist.", None),
    "no-money": (424, 1, 1, 0, "Payment required.", None),
    "quota": (424, 1, 1, 0, "the quota of the account is used up", None),
    "busy": (429, 1, 1, 0, "Rate limit reached.", 77),
    "busy-without-time": (429, 1, 1, 0, "limits the rate of calls", 5),
    "fault": (503, limits.ATTEMPTS, limits.ATTEMPTS, 0, "The server had an error.", 5),
    "behind-a-proxy": (503, limits.ATTEMPTS, limits.ATTEMPTS, 0, "reports an error (522)", 5),
    "backend-of-tei": (503, limits.ATTEMPTS, limits.ATTEMPTS, 0, "Inference failed.", 5),
    "not-implemented": (424, 1, 1, 0, "Not implemented.", None),
    "overloaded": (503, 1, 1, 0, "Overloaded.", 120),
    "redirect": (424, 1, 1, 0, "redirects the call (307)", None),
    # The provider may charge for these: their tokens are estimated.
    "hang": (504, 1, 1, 4, "did not answer in time", 5),
    "drip": (504, 1, 1, 4, "did not answer in time", 5),
    "broken": (503, 1, 1, 4, "closed the connection", 5),
    "flood": (502, 1, 1, 4, "sent an answer of more than", None),
    "html": (502, 1, 1, 4, "sent an answer that is not JSON", None),
    "cut": (502, 1, 1, 4, "the API standard may be wrong", None),
    "other-form": (502, 1, 1, 4, "the API standard may be wrong", None),
    "compressed": (502, 1, 1, 4, "sent a compressed answer", None),
    "nan": (502, 1, 1, 4, "the API standard may be wrong", None),  # JSON has none
    # The provider says that it counted the tokens of these.
    "too-few": (502, 1, 0, 3, "returned 1 vectors for 2 texts", None),
    "too-many": (502, 1, 0, 3, "returned 3 vectors for 2 texts", None),
    "dimensions": (424, 1, 0, 3, "returned vectors of 9 dimensions, but the instance has 8", None),
    "huge": (502, 1, 0, 3, "zero or not finite", None),
    "zero": (502, 1, 0, 3, "zero or not finite", None),
    "texts": (502, 1, 0, 3, "returned a vector that is not an array of numbers", None),
}

FAULTS = r"^embedding_service_faults_total \S+$"


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote.limits, "LONGEST_PAUSE", 0.3)


@pytest.fixture(scope="session")
async def hasty(provider_database: str, provider: Provider) -> AsyncIterator[httpx2.AsyncClient]:
    """A service that waits less for the provider, for faults that take all of this time."""
    hosts = f"http://127.0.0.1:{provider.port}"
    config = settings_for(
        provider_database, service_provider_hosts=hosts, service_provider_seconds=2.5, service_indexer=False
    )
    async with serving(config) as url, httpx2.AsyncClient(base_url=url, timeout=60) as client:
        yield client


@pytest.mark.parametrize("fault", TABLE)
async def test_faults(
    service: httpx2.AsyncClient,
    hasty: httpx2.AsyncClient,
    admin: Headers,
    provider: Provider,
    fault: str,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
) -> None:
    caplog.set_level(logging.DEBUG)
    status, calls, failures, tokens, words, seconds = TABLE[fault]
    one = await lent(hasty if fault in ("hang", "drip") else service, admin, provider, fault=fault)
    faults = re.findall(FAULTS, (await service.get("/metrics", headers=admin)).text, re.MULTILINE)
    answer = await one.put(TEXTS)
    body = problem(answer, status)
    assert words in body["detail"]
    assert answer.headers.get("retry-after") == (None if seconds is None else str(seconds))
    assert len(provider.asked) == calls
    assert await one.stored() == []
    ledger: dict[str, Any] = {}
    for row in await one.used():
        ledger |= {name: value for name, value in row.items() if name != "day"}
    assert (ledger["requests"], ledger.get("failures", 0), ledger.get("tokens", 0)) == (calls, failures, tokens)

    found = await one.api.post(one.similars, json={"text": "three"}, headers=one.owner.headers)
    assert found.status_code in (status, 422)  # 422: of a single text the provider's refusal is the text's
    metrics = await service.get("/metrics", headers=admin)
    assert re.findall(FAULTS, metrics.text, re.MULTILINE) == faults  # not of the service
    assert len(faults) == 1
    written = capfd.readouterr()
    for output in (answer.text, found.text, metrics.text, caplog.text, written.out, written.err):
        for start in range(len(KEY) - 5):
            assert KEY[start : start + 6] not in output, (fault, KEY[start : start + 6])


async def test_a_fault_that_passes_is_not_told(service: httpx2.AsyncClient, admin: Headers, provider: Provider) -> None:
    one = await lent(service, admin, provider, fault="some")
    provider.failures = 2
    answer = await one.put(TEXTS)
    assert answer.status_code == 201
    assert answer.json()["usage"] == {"texts": 2, "tokens": 3, "requests": 3, "unchanged": 0}
    (row,) = await one.used(by="user")
    assert row == {"user_handle": one.owner.handle, "requests": 3, "texts": 2, "tokens": 3, "failures": 2}


@pytest.mark.parametrize("standard", ["openai", "cohere", "ollama"])
@pytest.mark.parametrize(
    ("says", "tokens", "estimated"),
    [(-3, 0, 0), (2.5, 3, 0), (4.0, 4, 0), (10**30, MOST_TOKENS, 0), ("4", 3, 3), ([1], 3, 3)],
)
async def test_a_count_of_tokens_that_is_none_costs_no_vectors(
    service: httpx2.AsyncClient,
    admin: Headers,
    provider: Provider,
    standard: str,
    says: Any,
    tokens: int,
    estimated: int,
) -> None:
    one = await lent(service, admin, provider, standard)
    provider.says = says
    answer = await one.embed(["ten bytes."])
    assert answer.status_code == 200, answer.text
    assert answer.json()["usage"]["tokens"] == tokens
    assert answer.json()["usage"].get("estimated_tokens", 0) == estimated


async def test_out_of_order_is_put_in_order(service: httpx2.AsyncClient, admin: Headers, provider: Provider) -> None:
    one = await lent(service, admin, provider, fault="out-of-order")
    assert (await one.put(TEXTS)).status_code == 201
    for text_id, text in TEXTS.items():
        found = await service.post(f"{one.similars}&limit=1", json={"text": text}, headers=one.owner.headers)
        assert found.json()["results"][0]["id"] == text_id


async def test_a_provider_that_cannot_be_reached(
    service: httpx2.AsyncClient, admin: Headers, provider: Provider
) -> None:
    one = await lent(service, admin, provider, endpoint="http://127.0.0.1:9/v1")
    body = problem(await one.embed(["text"]), 503)
    assert "cannot be reached" in body["detail"]


async def test_a_request_that_is_refused_whatever_the_texts(
    service: httpx2.AsyncClient, admin: Headers, provider: Provider
) -> None:
    one = await lent(service, admin, provider, fault="refuses")
    body = problem(await one.embed(["one", "two", "three", "four", "five"]), 424)
    assert "refuses the request: dimensions is not supported by this model." in body["detail"]
    assert len(provider.asked) == 4  # all, and three of them alone
    body = problem(await one.embed(["one"]), 422)
    assert "dimensions is not supported by this model." in body["errors"][0]["message"]


async def test_bad_texts_are_named(provider: Provider, one: Lent) -> None:
    texts = {f"{row:02}": f"text {row}" for row in range(40)}
    provider.bad_texts = {"text 7", "text 31"}
    body = problem(await one.put(texts), 422)
    assert [error["location"] for error in body["errors"]] == ["body.texts[7].text", "body.texts[31].text"]
    assert "maximum context length" in body["errors"][0]["message"]
    assert await one.stored() == []
    provider.bad_texts = {"text 0", "text 20"}  # the shortest, and that in the middle of its size
    body = problem(await one.embed(list(texts.values())), 422)
    assert {error["location"] for error in body["errors"]} == {"body.input[0]", "body.input[20]"}
    provider.bad_texts = {"text 3"}
    body = problem(
        await one.api.post(one.similars, json={"texts": ["text 1", "text 3"]}, headers=one.owner.headers), 422
    )
    assert body["errors"][0]["location"] == "body.texts[1]"


async def test_a_text_among_others_that_alone_is_too_large(
    service: httpx2.AsyncClient, admin: Headers, provider: Provider
) -> None:
    one = await lent(service, admin, provider, fault="long-text")
    body = problem(await one.embed(["a", "b", "c" * 2000, "d"]), 422)
    assert [error["location"] for error in body["errors"]] == ["body.input[2]"]
    assert "is too long for the model" in body["errors"][0]["message"]


async def test_a_batch_that_is_too_large_is_halved_and_that_is_remembered(provider: Provider, one: Lent) -> None:
    provider.most = 10
    texts = [f"text {row}" for row in range(40)]
    assert (await one.embed(texts)).status_code == 200
    assert sorted({len(asked["texts"]) for asked in provider.asked}) == [10, 20, 40]
    provider.asked.clear()
    assert (await one.embed(texts)).status_code == 200
    assert [len(asked["texts"]) for asked in provider.asked] == [10] * 4
    provider.most = 0
    body = problem(await one.embed(["too long"]), 422)
    assert "is too long for the model" in body["errors"][0]["message"]


async def test_a_smaller_size_of_calls_is_forgotten_after_some_time(
    one: Lent, provider: Provider, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(remote.limits, "SIZE_SECONDS", 2.0)
    provider.most = 10
    texts = [f"text {row}" for row in range(40)]
    assert (await one.embed(texts)).status_code == 200
    provider.most = 30
    provider.asked.clear()
    assert (await one.embed(texts)).status_code == 200
    assert [len(asked["texts"]) for asked in provider.asked] == [10] * 4
    await asyncio.sleep(2)
    provider.asked.clear()
    assert (await one.embed(texts)).status_code == 200
    assert [len(asked["texts"]) for asked in provider.asked] == [40, 20, 20]


async def test_a_provider_that_takes_one_text_a_call_and_says_so_with_400(
    service: httpx2.AsyncClient, admin: Headers, provider: Provider
) -> None:
    one = await lent(service, admin, provider, "gemini", fault="one-text")
    texts = [f"text {row}" for row in range(60)]
    assert (await one.embed(texts)).status_code == 200
    provider.asked.clear()
    assert (await one.embed(texts)).status_code == 200  # that is remembered
    assert [len(asked["texts"]) for asked in provider.asked] == [1] * 60


async def test_a_broken_provider_is_left_alone(
    service: httpx2.AsyncClient, admin: Headers, provider: Provider, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "ATTEMPTS", 1)
    one = await lent(service, admin, provider, fault="some")
    provider.failures = limits.FAILURES_BEFORE_REST
    for _ in range(limits.FAILURES_BEFORE_REST):
        problem(await one.embed(["text"]), 503)
    answer = await one.embed(["text"])
    assert "not called for a while" in problem(answer, 503)["detail"]
    assert 1 <= int(answer.headers["retry-after"]) <= limits.REST_SECONDS
    assert len(provider.asked) == limits.FAILURES_BEFORE_REST
    shown = re.search(r"providers_resting (\d+)\.0", (await service.get("/metrics", headers=admin)).text)
    assert shown is not None
    assert int(shown[1]) >= 1
    other = await lent(service, admin, provider)
    assert (await other.embed(["text"])).status_code == 200
