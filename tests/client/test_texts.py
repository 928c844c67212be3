"""Texts that the service embeds, with the small model inside it."""

from collections.abc import Awaitable, Callable

import numpy as np
import pytest
from vecferry import AsyncClient, Invalid

from tests.conftest import ADMIN_KEY, serving, settings_for

TEXTS = {"rose": "The modest rose puts forth a thorn", "tyger": "Tyger Tyger, burning bright, in the forests"}


@pytest.fixture
async def verses(client: AsyncClient, user: tuple[str, str]) -> str:
    await client.instances.from_definition(f"{user[0]}/here", "_system/local-small")
    return (await client.projects.put(f"{user[0]}/verses", instance=f"{user[0]}/here")).name


async def test_texts_are_embedded_stored_and_found_by_their_meaning(client: AsyncClient, verses: str) -> None:
    records = [{"text_id": name, "text": text, "metadata": {"name": name}} for name, text in TEXTS.items()]
    more = [{"text_id": f"plain-{number}", "text": f"The number {number}"} for number in range(300)]
    stored = await client.project(verses).texts([*records, *more])  # two batches
    assert stored.usage is not None
    assert (stored.inserted, stored.usage.texts, stored.usage.unchanged) == (302, 302, 0)
    again = await client.project(verses).texts(iter(records))
    assert again.usage is not None
    assert (again.unchanged, again.usage.texts, again.usage.unchanged) == (2, 0, 2)
    (found,) = await client.similar(verses, text="a flower with thorns", limit=1, threshold=0, include=["metadata"])
    assert (found.id, found.metadata) == ("rose", {"name": "rose"})


async def test_a_bad_text_is_named_and_what_was_stored_before_is_counted(client: AsyncClient, verses: str) -> None:
    records = [{"text_id": f"plain-{number}", "text": f"The number {number}"} for number in range(300)]
    records[250]["text"] = "x" * 100_001
    with pytest.raises(Invalid, match="200 rows were stored before") as refused:
        await client.project(verses).texts(records)
    assert [one.where for one in refused.value.problem.problems] == ["body.texts[50].text"]
    assert (await client.project(verses).get()).number_of_embeddings == 200


@pytest.mark.slow
async def test_a_service_that_takes_fewer_texts_at_once(new_database: Callable[..., str]) -> None:
    records = [{"text_id": f"plain-{number}", "text": f"The number {number}"} for number in range(250)]
    async with (
        serving(settings_for(new_database(), service_max_texts=60)) as url,
        AsyncClient(url, ADMIN_KEY) as client,
    ):
        await client.users.put("alice", email="alice@example.org")
        await client.instances.from_definition("alice/here", "_system/local-small")
        stored = await (await client.projects.put("alice/verses", instance="alice/here")).texts(records)
        assert stored.usage is not None
        assert (stored.inserted, stored.usage.texts) == (250, 250)


async def test_vectors_without_storing(
    client: AsyncClient, user: tuple[str, str], verses: str, new_user: Callable[[], Awaitable[tuple[str, str]]]
) -> None:
    made = await client.instances.embed(f"{user[0]}/here", list(TEXTS.values()), input_type="query")
    assert made.vectors.shape == (2, made.dimensions)
    assert made.vectors.dtype == np.float32
    assert np.allclose(np.linalg.norm(made.vectors, axis=1), 1, atol=1e-3)
    assert made.usage.texts == 2
    used = [one async for one in client.instances.usage(f"{user[0]}/here", by="user")]
    assert [(one.user_handle, one.texts) for one in used] == [(user[0], 2)]
