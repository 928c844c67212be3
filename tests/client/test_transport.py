"""Retries, timeouts, errors and secrets of one request."""

import logging
import time
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import httpx2
import pytest
from vecferry import (
    AsyncClient,
    BadAnswer,
    BadGateway,
    ConnectionFailed,
    NotFound,
    ServiceError,
    TooManyRequests,
    Unavailable,
    errors,
)

from tests.conftest import ADMIN_KEY
from tests.support.faulty_proxy import NONE, Fault, canned, faulty_proxy

pytestmark = pytest.mark.slow

BUSY = Fault(answer=canned(503, "Retry-After: 0"))


class Faults:
    """The faults one after the other, then none; counts the requests."""

    def __init__(self, faults: Iterable[Fault]) -> None:
        self._faults: Iterator[Fault] = iter(faults)
        self.requests = 0

    def __call__(self, head: bytes) -> Fault:
        self.requests += 1
        return next(self._faults, NONE)


@pytest.mark.parametrize(
    "fault",
    [
        BUSY,
        Fault(answer=canned(429, "Retry-After: 0")),
        Fault(answer=canned(502, body=b"<html>no</html>")),
        Fault(answer=canned(504)),
        Fault(answer=canned(408, "Connection: close")),
        Fault(cut_request=0),
        Fault(cut_request=40),
        Fault(cut_answer=0),
        Fault(cut_answer=10),
        Fault(cut_answer=300),
    ],
    ids=lambda fault: str(fault)[6:60],
)
async def test_what_may_pass_is_tried_again(service_url: str, fault: Fault) -> None:
    faults = Faults([fault, fault])
    async with faulty_proxy(service_url, faults) as url, AsyncClient(url, ADMIN_KEY) as client:
        assert "_system" in [one.owner async for one in client.definitions.list()]
    assert faults.requests == 3


async def test_retry_after_is_obeyed_in_seconds_and_as_a_date(service_url: str) -> None:
    began = time.monotonic()  # before the date, which is without fractions of a second
    date = format_datetime(datetime.now(UTC) + timedelta(seconds=5), usegmt=True)
    faults = Faults([Fault(answer=canned(429, "Retry-After: 1")), Fault(answer=canned(503, f"Retry-After: {date}"))])
    async with faulty_proxy(service_url, faults) as url, AsyncClient(url, ADMIN_KEY) as client:
        await client.users.get("_system")
    assert 3.9 <= time.monotonic() - began < 60  # the usual pauses are less than three in all


async def test_it_gives_up_after_its_retries(service_url: str) -> None:
    faults = Faults([BUSY] * 10)
    async with faulty_proxy(service_url, faults) as url, AsyncClient(url, ADMIN_KEY, retries=2) as client:
        with pytest.raises(Unavailable, match="The service answered 503"):
            await client.users.get("_system")
    assert faults.requests == 3


async def test_it_does_not_wait_for_a_day(service_url: str) -> None:
    faults = Faults([Fault(answer=canned(429, "Retry-After: 40000"))])
    async with faulty_proxy(service_url, faults) as url, AsyncClient(url, ADMIN_KEY) as client:
        with pytest.raises(TooManyRequests) as refused:
            await client.users.get("_system")
    assert refused.value.retry_after == 40000


@pytest.mark.parametrize("fault", [BUSY, Fault(answer=canned(502)), Fault(cut_answer=0), Fault(cut_request=30)])
async def test_what_makes_a_key_is_sent_once(service_url: str, fault: Fault) -> None:
    faults = Faults([fault])
    async with faulty_proxy(service_url, faults) as url, AsyncClient(url, ADMIN_KEY) as client:
        with pytest.raises((Unavailable, BadGateway, ConnectionFailed)):
            await client.keys.exchange("nobody-there")
        assert faults.requests == 1
        with pytest.raises(NotFound):
            await client.keys.exchange("nobody-there")


async def test_no_answer_within_the_timeout(service_url: str) -> None:
    faults = Faults([Fault(delay=30)] * 2)
    async with faulty_proxy(service_url, faults) as url, AsyncClient(url, ADMIN_KEY, timeout=1.0, retries=1) as client:
        with pytest.raises(ConnectionFailed, match=r"No answer from http://127\.0\.0\.1:\d+: "):
            await client.users.get("_system")
    assert faults.requests == 2


async def test_nobody_is_there() -> None:
    async with AsyncClient("http://somebody:password@127.0.0.1:9", "a-key", retries=0) as client:
        with pytest.raises(ConnectionFailed, match=r"No answer from http://127\.0\.0\.1:9") as failed:
            await client.users.get("alice")
    assert "password" not in str(failed.value)


async def test_another_server_is_told_apart(service_url: str) -> None:
    page = canned(200, "Content-Type: text/html", body=b"<html>Welcome</html>")
    away = canned(302, "Location: http://127.0.0.1:9/login")
    faults = Faults([Fault(answer=page), Fault(answer=away)])
    async with faulty_proxy(service_url, faults) as url, AsyncClient(url, ADMIN_KEY) as client:
        with pytest.raises(BadAnswer, match="Is the URL right"):
            await client.users.get("_system")
        with pytest.raises(ServiceError, match="302 Found") as refused:
            await client.users.get("_system")
    assert refused.value.status == 302


async def test_a_service_below_a_path(service_url: str) -> None:
    """A proxy may put it there: pages go on there too."""

    def strip(request: httpx2.Request) -> httpx2.Request:
        assert request.url.path.startswith("/vectors/v1/")
        return request

    class Stripped(httpx2.AsyncHTTPTransport):
        async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
            target = strip(request).url.raw_path.removeprefix(b"/vectors")
            request.url = request.url.copy_with(raw_path=target)
            return await super().handle_async_request(request)

    async with httpx2.AsyncClient(transport=Stripped()) as http:
        client = AsyncClient(f"{service_url}/vectors/", ADMIN_KEY, http=http)
        path, query = "/v1/llm-definitions", {"limit": 2}
        pages = [page async for page in client._transport.pages(path, dict, query)]
        await client.close()
        assert not http.is_closed  # it belongs to who gave it
    assert len(pages) > 2
    assert all(len(page["definitions"]) == 2 for page in pages[:-1])


@pytest.mark.parametrize("key", ["secret one", "secret\n", "schlüssel", ""])
def test_a_key_that_is_none_is_not_repeated(key: str) -> None:
    with pytest.raises(ValueError, match="The key must be visible ASCII") as refused:
        AsyncClient("http://127.0.0.1:9", key)
    assert not key or key.strip() not in str(refused.value)


@pytest.mark.parametrize(
    "url", ["", "vectors.example.org", "ftp://vectors.example.org", "http://", "/v1", "http://x:65536"]
)
def test_a_url_that_is_none(url: str) -> None:
    with pytest.raises(ValueError, match="is not the URL of a service"):
        AsyncClient(url, "a-key")


async def test_the_log_tells_retries_and_no_key(service_url: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    faults = Faults([BUSY, Fault(cut_answer=0)])
    async with faulty_proxy(service_url, faults) as url, AsyncClient(url, ADMIN_KEY) as client:
        await client.users.get("_system")
        shown = f"{client!r} {client.users!r} {client._transport!r}"
    told = [record.getMessage() for record in caplog.records if record.name == "vecferry"]
    assert len(told) == 2
    assert told[0].startswith("GET /v1/users/_system: 503; again in ")
    assert ADMIN_KEY not in caplog.text + shown


def test_every_status_has_its_error() -> None:
    kinds = {kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, ServiceError)}
    assert set(errors.BY_STATUS.values()) | {ServiceError} == kinds
    assert all((kind.__doc__ or "").startswith(f"{status}: ") for status, kind in errors.BY_STATUS.items())
