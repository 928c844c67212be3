"""The circuit breaker of providers, and what the metric tells of it."""

import asyncio
from functools import partial

import pytest
from prometheus_client import REGISTRY

from service.providers import breaker
from service.providers.errors import Down
from service.providers.limits import FAILURES_BEFORE_REST

PAUSE = 0.5


def resting() -> float | None:
    return REGISTRY.get_sample_value("embedding_service_providers_resting")


@pytest.fixture
def breakers(monkeypatch: pytest.MonkeyPatch) -> breaker.Breakers:
    monkeypatch.setattr(breaker, "_Breaker", partial(breaker._Breaker, rest=PAUSE))
    return breaker.Breakers()


def fail(breakers: breaker.Breakers) -> None:
    for _ in range(FAILURES_BEFORE_REST):
        breakers.check(1)
        breakers.note(1, failed=True)


async def test_a_provider_that_nobody_calls_again_does_not_rest_for_ever(breakers: breaker.Breakers) -> None:
    fail(breakers)
    assert resting() == 1
    with pytest.raises(Down):
        breakers.check(1)
    async with asyncio.timeout(20):
        while resting() != 0:
            await asyncio.sleep(0.05)


async def test_a_provider_that_still_fails_rests_again(breakers: breaker.Breakers) -> None:
    fail(breakers)
    await asyncio.sleep(PAUSE + 2 * breaker.PAST_SECONDS)
    breakers.check(1)
    assert resting() == 1  # while one call tries it
    breakers.note(1, failed=True)
    await asyncio.sleep(1.2 * PAUSE)
    assert resting() == 1  # twice as long
    breakers.note(1, failed=False)
    assert resting() == 0
