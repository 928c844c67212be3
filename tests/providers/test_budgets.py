"""Budgets: what a lender allows is never overspent, by nobody, and what was spent is in the ledger."""

import asyncio
import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx2
import psycopg
import pytest

from service.providers import limits
from tests.conftest import client_of, settings_for
from tests.providers.conftest import Lent, gone, lent
from tests.support.provider import Provider
from tests.support.world import Headers, User, problem, unique, user

pytestmark = pytest.mark.slow


async def share(one: Lent, other: User, **limits: Any) -> dict[str, Any]:
    body = {"share_with_handle": other.handle, "role": "reader", **limits}
    answer = await one.api.post(f"{one.instance}/share", json=body, headers=one.owner.headers)
    assert answer.status_code == 201, answer.text
    found: dict[str, Any] = next(row for row in answer.json()["shared_with"] if row["user_handle"] == other.handle)
    return found


async def built(one: Lent, other: User) -> str:
    """A project of another user on the instance."""
    handle = unique("p")
    body = {"project_handle": handle, "instance_owner": one.owner.handle, "instance_handle": one.handle}
    answer = await one.api.post(f"/v1/projects/{other.handle}", json=body, headers=other.headers)
    assert answer.status_code == 201, answer.text
    return f"{other.handle}/{handle}"


@pytest.fixture
async def second(provider_database: str, provider: Provider) -> AsyncIterator[httpx2.AsyncClient]:
    """Another service on the same database."""
    hosts = f"http://127.0.0.1:{provider.port}"
    config = settings_for(provider_database, service_provider_hosts=hosts, service_indexer=False)
    async with client_of(config) as client:
        yield client


@pytest.mark.slow
@pytest.mark.parametrize("of", ["share", "instance"])
async def test_many_at_once_overspend_nothing(
    service: httpx2.AsyncClient,
    second: httpx2.AsyncClient,
    admin: Headers,
    provider: Provider,
    of: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(limits, "RESERVE_WAIT", 0.3)
    provider.counts_bytes, provider.seconds = True, 0.01
    other = await user(service, admin)
    for run in range(4):
        one = await lent(service, admin, provider)
        budget = {"tokens_per_day": 10_000}
        await share(one, other, **(budget if of == "share" else {}))
        if of == "instance":
            answer = await service.patch(one.instance, json=budget, headers=one.owner.headers)
            assert answer.status_code == 200
        statuses = []

        async def spend(number: int, one: Lent = one, statuses: list[int] = statuses) -> None:
            api = (service, second)[number % 2]
            for _ in range(4):
                body = {"input": ["x" * 150, "y" * (40 + number)]}
                answer = await api.post(f"{one.instance}/embed", json=body, headers=other.headers)
                statuses.append(answer.status_code)

        await asyncio.gather(*(spend(number) for number in range(50)))
        assert set(statuses) == {200, 429}
        (row,) = await one.used(by="user")
        assert 8_000 < row["tokens"] <= 10_000, (run, row)
        assert row["requests"] == statuses.count(200)


async def test_a_spent_budget_says_whose_it_is_and_until_when(provider: Provider, one: Lent, other: User) -> None:
    provider.counts_bytes = True
    await share(one, other, tokens_per_day=100)
    assert (await one.embed(["x" * 60], other.headers)).status_code == 200
    before = datetime.now(UTC)
    answer = await one.embed(["x" * 60], other.headers)
    after = datetime.now(UTC)
    detail = problem(answer, 429)["detail"]
    assert f"{one.owner.handle}/here for {other.handle} is allowed 100 tokens a day: 60 are spent" in detail
    assert "this text needs up to 76" in detail
    detail = problem(await one.embed(["x", "y" * 60], other.headers), 429)["detail"]
    assert "these texts need up to 93" in detail
    midnight = datetime.combine(before.date() + timedelta(days=1), datetime.min.time(), UTC)
    least, most = [(midnight - at).total_seconds() for at in (after, before)]
    assert least - 1 <= int(answer.headers["retry-after"]) <= most + 1
    never = problem(await one.embed(["x" * 200], other.headers), 422)
    assert "needs up to 216 tokens" in never["errors"][0]["message"]
    assert never["detail"] == "No text was embedded: send a shorter text."
    never = problem(await one.embed(["x" * 50] * 2, other.headers), 422)
    assert never["detail"] == "No text was embedded: send fewer texts."
    assert (await one.embed(["x" * 200])).status_code == 200  # the owner has no limit
    assert (await one.embed(["x" * 10], other.headers)).status_code == 200

    await share(one, other, tokens_per_day=None, tokens_per_month=100)
    answer = await one.embed(["x" * 60], other.headers)
    assert "tokens a month" in problem(answer, 429)["detail"]
    assert len(provider.asked) == 3


async def test_requests_a_minute(one: Lent, other: User) -> None:
    await share(one, other, requests_per_minute=2)
    start = time.monotonic()
    assert [(await one.embed(["text"], other.headers)).status_code for _ in range(3)] == [200, 200, 429]
    answer = await one.embed(["text"], other.headers)
    assert "2 requests a minute" in problem(answer, 429)["detail"]
    assert 59 - (time.monotonic() - start) <= int(answer.headers["retry-after"]) <= 60
    assert (await one.embed(["text"])).status_code == 200
    await share(one, other, requests_per_minute=0)
    problem(await one.embed(["text"], other.headers), 422)


async def test_a_limit_of_none(one: Lent, other: User) -> None:
    await share(one, other, requests_per_minute=0)
    body = problem(await one.embed(["text"], other.headers), 422)
    assert body["detail"] == "No text was embedded."
    assert "needs a request, but" in body["errors"][0]["message"]
    assert "is allowed 0 requests a minute" in body["errors"][0]["message"]


async def test_a_share_is_changed_and_the_rest_of_it_stays(one: Lent, other: User, service: httpx2.AsyncClient) -> None:
    limits = {"tokens_per_day": 5, "tokens_per_month": 50, "requests_per_minute": 3}
    end = "2100-01-01T00:00:00Z"
    assert await share(one, other, **limits, expires_at=end) == {
        "user_handle": other.handle, "role": "reader", **limits, "expires_at": end,
    }  # fmt: skip
    assert (await share(one, other, role="editor", tokens_per_day=6))["tokens_per_month"] == 50
    path = f"{one.instance}/share/{other.handle}"
    answer = await service.patch(path, json={"tokens_per_month": None}, headers=one.owner.headers)
    assert answer.status_code == 200, answer.text
    assert answer.json()["shared_with"] == [
        {
            "user_handle": other.handle,
            "role": "editor",
            "tokens_per_day": 6,
            "requests_per_minute": 3,
            "expires_at": end,
        }
    ]
    shown = await service.get(f"{one.instance}/shared-with", headers=one.owner.headers)
    assert shown.json()["shared_with"] == answer.json()["shared_with"]
    problem(await service.patch(path, json={"tokens_per_day": -1}, headers=one.owner.headers), 422)
    problem(await service.patch(path, json={"expires_at": "2100-01-01T00:00:00"}, headers=one.owner.headers), 422)
    problem(await service.patch(path, json={"role": None}, headers=one.owner.headers), 422)
    problem(await service.patch(f"{path}x", json={"role": "reader"}, headers=one.owner.headers), 404)
    problem(await service.patch(path, json={"role": "reader"}, headers=other.headers), 403)


@pytest.mark.parametrize(
    "end",
    [
        "9999-12-31T23:59:59.999999Z",  # Python's last datetime, which asyncpg stores as infinity
        "0001-01-01T00:00:00Z",  # Go's zero time, likewise
        "9999-12-31T23:59:59-12:00",  # later than all times in UTC
        "0001-01-01T00:00:00+12:00",
    ],
)
async def test_an_end_that_cannot_be_stored_is_refused(
    one: Lent, other: User, service: httpx2.AsyncClient, end: str
) -> None:
    body = {"share_with_handle": other.handle, "role": "reader", "expires_at": end}
    answer = await service.post(f"{one.instance}/share", json=body, headers=one.owner.headers)
    assert problem(answer, 422)["errors"][0]["location"] == "body.expires_at"
    problem(await service.patch(one.instance, json={"expires_at": end}, headers=one.owner.headers), 422)
    assert (await service.patch(one.instance, json={"description": "D"}, headers=one.owner.headers)).status_code == 200


@pytest.mark.parametrize(
    ("query", "status"),
    [
        ({"to": "0001-01-01"}, 200),
        ({"from": "9999-12-31", "to": "9999-12-31"}, 200),
        ({"from": "0001-01-01", "to": "9999-12-31"}, 422),
        ({"from": "2026-01-02", "to": "2026-01-01"}, 422),
        ({"from": "9999-12-31"}, 422),
    ],
)
async def test_the_usage_of_any_days(
    one: Lent, service: httpx2.AsyncClient, query: dict[str, str], status: int
) -> None:
    answer = await service.get(f"{one.instance}/usage", params=query, headers=one.owner.headers)
    assert answer.status_code == status, answer.text


async def test_an_expired_share_neither_embeds_nor_builds(
    one: Lent, other: User, service: httpx2.AsyncClient, provider: Provider
) -> None:
    await share(one, other, expires_at=(datetime.now(UTC) + timedelta(hours=1)).isoformat())
    project = await built(one, other)
    rows = {"texts": [{"text_id": "a", "text": "one"}]}
    assert (await service.post(f"/v1/texts/{project}", json=rows, headers=other.headers)).status_code == 201
    await share(one, other, expires_at="2020-01-01T00:00:00Z")
    problem(await one.embed(["text"], other.headers), 403)
    changed = {"texts": [{"text_id": "a", "text": "two"}]}
    body = problem(await service.post(f"/v1/texts/{project}", json=changed, headers=other.headers), 403)
    assert body["detail"] == f"The share of {one.owner.handle}/here with {other.handle} has ended."
    problem(await service.post(f"/v1/similars/{project}", json={"text": "one"}, headers=other.headers), 403)
    body = {"project_handle": unique("p"), "instance_owner": one.owner.handle, "instance_handle": "here"}
    answer = await service.post(f"/v1/projects/{other.handle}", json=body, headers=other.headers)
    assert answer.status_code in (403, 404)
    listed = await service.get(f"/v1/llm-instances/{other.handle}?access=shared", headers=other.headers)
    assert listed.json() == {"instances": []}
    assert len(provider.asked) == 1

    expired = {"expires_at": "2020-01-01T00:00:00Z"}
    assert (await service.patch(one.instance, json=expired, headers=one.owner.headers)).status_code == 200
    assert "has expired" in problem(await one.embed(["text"]), 403)["detail"]


async def test_what_editors_of_a_project_spend_is_its_owners(
    service: httpx2.AsyncClient, admin: Headers, provider: Provider
) -> None:
    one, borrower, editor = (
        await lent(service, admin, provider), await user(service, admin), await user(service, admin),
    )  # fmt: skip
    await share(one, borrower, tokens_per_day=200)
    project = await built(one, borrower)
    share_project = {"share_with_handle": editor.handle, "role": "editor"}
    answer = await service.post(f"/v1/projects/{project}/share", json=share_project, headers=borrower.headers)
    assert answer.status_code == 201
    rows = {"texts": [{"text_id": "a", "text": "one two three"}]}
    assert (await service.post(f"/v1/texts/{project}", json=rows, headers=editor.headers)).status_code == 201
    assert (await one.embed(["four"], borrower.headers)).status_code == 200
    assert {row["user_handle"]: row["tokens"] for row in await one.used(by="user")} == {
        editor.handle: 3, borrower.handle: 1,
    }  # fmt: skip
    path, today = f"{one.instance}/usage", datetime.now(UTC).date().isoformat()
    seen = (await service.get(path, params={"by": "user"}, headers=borrower.headers)).json()
    assert {row["user_handle"] for row in seen["usage"]} == {editor.handle, borrower.handle}
    problem(await service.get(path, headers=editor.headers), 403)
    by_day = (await service.get(path, params={"from": today, "to": today}, headers=one.owner.headers)).json()
    assert by_day == {
        "owner": one.owner.handle, "instance_handle": "here", "from": today, "to": today,
        "usage": [{"day": today, "requests": 2, "texts": 2, "tokens": 4}],
    }  # fmt: skip
    assert (await service.get(path, params={"to": "2020-01-01"}, headers=admin)).json()["usage"] == []
    both = (await service.get(path, params={"by": "day,user"}, headers=one.owner.headers)).json()["usage"]
    assert {(row["day"], row["user_handle"]): row["tokens"] for row in both} == {
        (today, row["user_handle"]): row["tokens"] for row in await one.used(by="user")
    }
    for by in ("", "week", "day,user,day"):
        problem(await service.get(path, params={"by": by}, headers=admin), 422)
    problem(await service.get(path, params={"from": today, "to": "2020-01-01"}, headers=admin), 422)
    problem(await service.get(path, params={"from": "yesterday"}, headers=admin), 422)
    # A share that has ended: its projects embed nothing more.
    await service.delete(f"{one.instance}/share/{borrower.handle}", headers=one.owner.headers)
    rows = {"texts": [{"text_id": "b", "text": "new"}]}
    problem(await service.post(f"/v1/texts/{project}", json=rows, headers=editor.headers), 403)


async def test_the_admin_and_the_public_have_names_in_the_ledger(
    one: Lent, service: httpx2.AsyncClient, admin: Headers
) -> None:
    await one.put({"a": "one"})
    change = {"public_read": True, "text_search": "public"}
    answer = await service.patch(
        f"/v1/projects/{one.owner.handle}/{one.project}", json=change, headers=one.owner.headers
    )
    assert answer.status_code == 200
    assert (await service.post(one.similars, json={"text": "two words"})).status_code == 200
    assert (await one.embed(["three"], admin)).status_code == 200
    assert {row["user_handle"]: row["tokens"] for row in await one.used(by="user")} == {
        one.owner.handle: 1, "public": 2, "admin": 1,
    }  # fmt: skip


async def test_a_later_user_of_the_same_handle_has_none_of_the_usage(
    service: httpx2.AsyncClient, admin: Headers, provider: Provider, one: Lent, other: User
) -> None:
    provider.counts_bytes = True
    await share(one, other, tokens_per_day=100)
    assert (await one.embed(["x" * 60], other.headers)).status_code == 200
    assert (await service.delete(other.path, headers=other.headers)).status_code == 204
    body = {"user_handle": other.handle, "email": other.email}
    answer = await service.put(other.path, json=body, headers=admin)
    later = User(other.handle, answer.json()["vdb_key"], other.email)
    await share(one, later, tokens_per_day=100)
    usage = await service.get(f"{one.instance}/usage", headers=later.headers)
    assert usage.json()["usage"] == []
    assert (await one.embed(["x" * 60], later.headers)).status_code == 200
    assert {row["user_handle"]: row["tokens"] for row in await one.used(by="user")} == {
        "_deleted": 60,
        later.handle: 60,
    }


async def test_a_call_of_a_user_deleted_meanwhile_is_not_entered_for_a_later_one(
    one: Lent, other: User, service: httpx2.AsyncClient, admin: Headers, provider: Provider
) -> None:
    provider.counts_bytes, provider.seconds = True, 1.0
    await share(one, other, tokens_per_day=100)
    call = asyncio.create_task(one.embed(["x" * 60], other.headers))
    while not provider.asked:
        await asyncio.sleep(0.01)
    assert (await service.delete(other.path, headers=admin)).status_code == 204
    assert (await call).status_code == 200
    assert [(row["user_handle"], row["tokens"]) for row in await one.used(by="user")] == [("_deleted", 60)]


async def test_a_reservation_that_nobody_settles_ends_by_itself(
    one: Lent, other: User, service: httpx2.AsyncClient, provider_database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    await share(one, other, tokens_per_day=100)
    shown = (await service.get(one.instance, headers=one.owner.headers)).json()
    with psycopg.connect(provider_database, autocommit=True) as db:
        db.execute(
            "INSERT INTO usage_reservations (instance_id, holder, tokens, made_at, expires_at) "
            "VALUES (%s, %s, 90, now(), now() + interval '1 hour')",
            (shown["instance_id"], other.handle),
        )
        monkeypatch.setattr(limits, "RESERVE_WAIT", 0.2)
        answer = await one.embed(["x" * 20], other.headers)
        assert "0 are spent and 90 reserved by other calls" in problem(answer, 429)["detail"]
        monkeypatch.setattr(limits, "RESERVE_WAIT", 5)
        db.execute("UPDATE usage_reservations SET expires_at = now() + interval '1 second'")
        assert (await one.embed(["x" * 20], other.headers)).status_code == 200
        db.execute("UPDATE usage_reservations SET made_at = made_at - interval '2 minutes'")
        assert (await one.embed(["x" * 20], other.headers)).status_code == 200
        left = db.execute("SELECT tokens FROM usage_reservations WHERE holder = %s", (other.handle,)).fetchall()
        assert left == [(0,)]  # the last one, which counts as a request for a minute


async def test_a_reservation_lasts_as_long_as_its_call(
    one: Lent, other: User, provider: Provider, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, seconds in {"RESERVED_SECONDS": 2.0, "RENEW_SECONDS": 0.2, "SETTLE_SECONDS": 0.1}.items():
        monkeypatch.setattr(limits, name, seconds)
    monkeypatch.setattr(limits, "RESERVE_WAIT", 0.1)
    provider.counts_bytes, provider.seconds = True, 4.0
    await share(one, other, tokens_per_day=100)
    first = asyncio.create_task(one.embed(["x" * 60], other.headers))
    await asyncio.sleep(2.5)
    answer = await one.embed(["x" * 60], other.headers)
    assert "0 are spent and 76 reserved by other calls" in problem(answer, 429)["detail"]
    assert (await first).status_code == 200
    assert (await one.used())[0]["tokens"] == 60


async def test_a_call_ends_when_its_reservation_has_expired(
    one: Lent, other: User, provider: Provider, provider_database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As after a long pause of the process: others may have reserved its tokens."""
    monkeypatch.setattr(limits, "RENEW_SECONDS", 0.2)
    provider.seconds = 20.0
    await share(one, other, tokens_per_day=100)
    call = asyncio.create_task(one.embed(["x" * 60], other.headers))
    while not provider.asked:
        await asyncio.sleep(0.01)
    with psycopg.connect(provider_database, autocommit=True) as db:
        db.execute("UPDATE usage_reservations SET expires_at = now() WHERE holder = %s", (other.handle,))
    detail = problem(await call, 503)["detail"]
    assert detail == "The call was ended because its part of the budget could not be kept. Try again."
    (row,) = await one.used()
    assert (row["requests"], row["estimated_tokens"]) == (1, 15)


async def test_a_cost_is_entered_when_the_database_answers_again(
    one: Lent, other: User, provider: Provider, provider_database: str
) -> None:
    """Its connections are lost while it enters the cost."""
    provider.counts_bytes = True
    await share(one, other, tokens_per_day=100)
    lose = (
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
        "WHERE datname = current_database() AND query LIKE '%usage_reservations%' AND wait_event_type = 'Lock'"
    )
    with psycopg.connect(provider_database) as db, psycopg.connect(provider_database, autocommit=True) as killer:
        db.execute("LOCK TABLE instance_usage IN SHARE MODE")  # reservations read it
        calls = [asyncio.create_task(one.embed(["x" * 20], other.headers)) for _ in range(2)]
        killed = 0
        while killed < 2:
            killed += len(killer.execute(lose).fetchall())
            await asyncio.sleep(0.05)
    assert [answer.status_code for answer in await asyncio.gather(*calls)] == [200, 200]
    (row,) = await one.used()
    assert (row["requests"], row["tokens"]) == (2, 40)


async def test_texts_that_are_paid_for_wait_for_their_turn_to_be_stored(
    url: str, admin: Headers, provider: Provider
) -> None:
    config = settings_for(
        url,
        service_provider_hosts=f"http://127.0.0.1:{provider.port}",
        service_wait_seconds=1.5,
        service_pool_size=6,  # three uploads, two of one caller
        service_indexer=False,
    )
    async with client_of(config) as api:
        one = await lent(api, admin, provider)
        project = (await api.get(f"/v1/projects/{one.owner.handle}/{one.project}", headers=admin)).json()
        with psycopg.connect(url) as db:
            db.execute(f"LOCK TABLE embeddings_{project['project_id']} IN SHARE MODE".encode())  # nothing is stored
            puts = [asyncio.create_task(one.put({str(number): "text"})) for number in range(3)]
            while len(provider.asked) < 3 and not any(put.done() for put in puts):
                await asyncio.sleep(0.01)
            await asyncio.sleep(2)
        assert [answer.status_code for answer in await asyncio.gather(*puts)] == [201] * 3


async def test_a_share_that_ends_while_a_request_waits_for_its_budget(
    one: Lent, other: User, provider: Provider
) -> None:
    provider.counts_bytes, provider.seconds = True, 3.0
    await share(one, other, tokens_per_day=100)
    await one.api.patch(one.instance, json={"tokens_per_day": 10_000}, headers=one.owner.headers)
    first = asyncio.create_task(one.embed(["x" * 60], other.headers))
    while not provider.asked:
        await asyncio.sleep(0.01)
    second = asyncio.create_task(one.embed(["x" * 60], other.headers))  # waits for the reserved tokens
    await asyncio.sleep(0.3)
    ended = await one.api.delete(f"{one.instance}/share/{other.handle}", headers=one.owner.headers)
    assert ended.status_code == 204
    detail = problem(await second, 403)["detail"]
    assert detail == f"The share of {one.owner.handle}/here with {other.handle} has ended."
    assert (await first).status_code == 200
    assert len(provider.asked) == 1


async def test_a_client_that_goes_away_stops_the_call_and_pays_for_it(
    service: httpx2.AsyncClient, admin: Headers, provider: Provider
) -> None:
    one = await lent(service, admin, provider, fault="hang")
    rows = {"texts": [{"text_id": "a", "text": "x" * 40}]}
    for path, body in ((f"{one.instance}/embed", {"input": ["x" * 40]}), (one.texts, rows)):
        call = asyncio.create_task(service.post(path, json=body, headers=one.owner.headers))
        await gone(call, provider)
    async with asyncio.timeout(20):
        while sum(row["requests"] for row in await one.used()) != 2:
            await asyncio.sleep(0.05)
    (row,) = await one.used()
    assert row == {
        "day": datetime.now(UTC).date().isoformat(),
        "requests": 2,
        "texts": 2,
        "tokens": 20,
        "estimated_tokens": 20,
    }
