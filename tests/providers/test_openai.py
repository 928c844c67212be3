"""The route that speaks as OpenAI does, with the official client."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Any

import httpx2
import numpy as np
import pytest

from tests.providers.conftest import Lent, lent
from tests.support import provider as fake
from tests.support.provider import Provider
from tests.support.world import Headers, user

if TYPE_CHECKING:
    import openai


def client(one: Lent, key: str | None = None) -> openai.AsyncOpenAI:
    import openai  # here, for each process of the tests would pay for the import

    base = f"{one.api.base_url}/v1/openai/{one.owner.handle}/here"
    return openai.AsyncOpenAI(base_url=base, api_key=key or one.owner.key, max_retries=0)


def expected(text: str) -> Any:
    vector = np.array(fake.vector(text))
    return vector / np.linalg.norm(vector)


@pytest.mark.parametrize("form", ["float", "base64", None])
async def test_the_official_client(service: httpx2.AsyncClient, admin: Headers, provider: Provider, form: Any) -> None:
    one = await lent(service, admin, provider, "cohere")
    options = {} if form is None else {"encoding_format": form}
    async with client(one) as asked:
        answer = await asked.embeddings.create(model="m", input=["one two", "three"], **options)
        assert [item.index for item in answer.data] == [0, 1]
        for item, text in zip(answer.data, ["one two", "three"], strict=True):
            sent: Any = item.embedding
            read = np.frombuffer(base64.b64decode(sent), "<f4") if isinstance(sent, str) else np.array(sent)
            assert np.allclose(read, expected(text), atol=1e-6)
        assert (answer.usage.prompt_tokens, answer.usage.total_tokens, answer.model) == (3, 3, "m")
        single = await asked.embeddings.create(model="here", input="three", dimensions=8, user="somebody")
        assert np.allclose(single.data[0].embedding, expected("three"), atol=1e-6)


async def test_errors_are_those_that_the_client_knows(
    service: httpx2.AsyncClient, admin: Headers, provider: Provider
) -> None:
    import openai

    one = await lent(service, admin, provider)
    async with client(one) as asked:
        with pytest.raises(openai.NotFoundError, match="has the model 'm', not 'gpt'"):
            await asked.embeddings.create(model="gpt", input="text")
        with pytest.raises(openai.BadRequestError, match="number of dimensions is fixed") as wrong:
            await asked.embeddings.create(model="m", input="text", dimensions=9)
        assert (wrong.value.type, wrong.value.param) == ("invalid_request_error", "body.dimensions")
        for refused in ("", [], ["a", ""], [1, 2], "a\0", ["a", "x" * 100_001]):
            with pytest.raises(openai.UnprocessableEntityError):
                await asked.embeddings.create(model="m", input=refused)  # type: ignore[arg-type]
    async with client(one, "wrong") as asked:
        with pytest.raises(openai.AuthenticationError):
            await asked.embeddings.create(model="m", input="text")
    stranger = await user(service, admin)
    async with client(one, stranger.key) as asked:
        with pytest.raises(openai.PermissionDeniedError):
            await asked.embeddings.create(model="m", input="text")
    busy = await lent(service, admin, provider, fault="busy")
    async with client(busy) as asked:
        with pytest.raises(openai.RateLimitError) as limited:
            await asked.embeddings.create(model="m", input="text")
    assert limited.value.response.headers["retry-after"] == "77"


async def test_the_local_model_by_the_official_client(
    service: httpx2.AsyncClient, admin: Headers, provider: Provider
) -> None:
    owner = await user(service, admin)
    made = {"instance_handle": "here", "definition_owner": "_system", "definition_handle": "local-small"}
    answer = await service.post(f"/v1/llm-instances/{owner.handle}/from-definition", json=made, headers=owner.headers)
    assert answer.status_code == 200
    async with client(Lent(service, owner, "here", "")) as asked:
        found = await asked.embeddings.create(model="l2-supercat-256", input="a flower")
    assert len(found.data[0].embedding) == 256
