"""A provider on loopback that speaks all dialects, and has all faults. Its paths begin with the name of a fault.

The shapes of requests and answers are those of the providers' own references (`service.providers.dialects`).
"""

import asyncio
import contextlib
import hashlib
import json
import time
from collections.abc import AsyncIterator, Callable
from typing import Any

import numpy as np
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

DIMENSIONS = 8
KEY = "sk-Zq7Xw2Jv9Kt4Rn8Bm3"


def vector(text: str, dimensions: int = DIMENSIONS) -> list[float]:
    """What it answers for a text: `(dimensions,)`, not of unit length."""
    seed = int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big")
    return [round(float(one), 6) for one in 3 * np.random.default_rng(seed).normal(size=dimensions)]


def tokens(texts: list[str]) -> int:
    return sum(len(text.split()) for text in texts)


class Provider:
    """The server, what it was asked, and how it behaves: `most` texts a call, `seconds` that each takes."""

    def __init__(self) -> None:
        self.asked: list[dict[str, Any]] = []
        self.port, self.most, self.seconds, self.dimensions = 0, 10_000, 0.0, DIMENSIONS
        self.bad_texts: set[str] = set()
        self.failures = 0  # calls that the fault "some" still answers with an error
        self.at_once = self.most_at_once = 0
        self.counts_bytes = False  # as many tokens as there could be
        self.says: Any = None  # in place of the number of tokens

    def url(self, path: str, fault: str = "none") -> str:
        return f"http://127.0.0.1:{self.port}/{fault}{path}"

    @property
    def texts(self) -> list[str]:
        """All texts that it was sent."""
        return [text for one in self.asked for text in one["texts"]]

    async def __call__(self, request: Request) -> Response:
        body = await request.body()
        sent = json.loads(body)
        kind, texts = _texts(request.url.path, sent)
        asked = {"path": request.url.path, "query": request.url.query, "headers": dict(request.headers), "body": sent}
        self.asked.append({**asked, "kind": kind, "texts": texts})
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        try:
            end = time.monotonic() + self.seconds
            while (left := end - time.monotonic()) > 0 and not await request.is_disconnected():
                await asyncio.sleep(min(left, 0.05))
            fault = FAULTS.get(request.path_params["fault"])
            if fault is not None and (answer := await fault(self, request, kind, texts)) is not None:
                return answer
            if len(texts) > self.most:
                return _error(413, f"batch size {len(texts)} > maximum allowed batch size {self.most}")
            if bad := [text for text in texts if text in self.bad_texts]:
                return _error(400, f"This model's maximum context length is exceeded ({len(bad)} texts).")
            count = sum(len(text.encode()) for text in texts) if self.counts_bytes else tokens(texts)
            said = count if self.says is None else self.says
            return _answer(kind, [vector(text, self.dimensions) for text in texts], said)
        finally:
            self.at_once -= 1


def _texts(path: str, sent: dict[str, Any]) -> tuple[str, list[str]]:
    if path.endswith(":batchEmbedContents"):
        return "gemini", [one["content"]["parts"][0]["text"] for one in sent["requests"]]
    if path.endswith("/api/embed"):
        return "ollama", sent["input"]
    if "texts" in sent:
        return "cohere", sent["texts"]
    if "inputs" in sent:
        return "tei", sent["inputs"]
    return "openai", sent["input"]


def _answer(kind: str, vectors: list[Any], count: Any) -> Response:
    shapes: dict[str, Callable[[], Any]] = {
        "gemini": lambda: {"embeddings": [{"values": one} for one in vectors]},
        "ollama": lambda: {"model": "m", "embeddings": vectors, "total_duration": 1, "prompt_eval_count": count},
        "cohere": lambda: {
            "id": "1", "embeddings": {"float": vectors}, "texts": [],
            "meta": {"api_version": {"version": "2"}, "billed_units": {"input_tokens": count}},
        },
        "tei": lambda: vectors,
        "openai": lambda: {
            "object": "list", "model": "m",
            "data": [{"object": "embedding", "index": row, "embedding": one} for row, one in enumerate(vectors)],
            "usage": {"prompt_tokens": count, "total_tokens": count},
        },
    }  # fmt: skip
    return Response(json.dumps(shapes[kind]()), media_type="application/json")


def _error(status: int, message: str, headers: dict[str, str] | None = None, **fields: Any) -> Response:
    body = json.dumps({"error": {"message": message, "type": "error", **fields}})
    return Response(body, status, headers=headers, media_type="application/json")


Fault = Callable[[Provider, Request, str, list[str]], Any]


def _always(make: Callable[[], Response]) -> Fault:
    async def fault(provider: Provider, request: Request, kind: str, texts: list[str]) -> Response:
        return make()

    return fault


def _vectors(change: Callable[[list[Any]], list[Any]]) -> Fault:
    async def fault(provider: Provider, request: Request, kind: str, texts: list[str]) -> Response:
        return _answer(kind, change([vector(text, provider.dimensions) for text in texts]), tokens(texts))

    return fault


async def _repeats_key(provider: Provider, request: Request, kind: str, texts: list[str]) -> Response:
    return _error(401, f"Incorrect API key provided: {request.headers.get('authorization')}.")


async def _repeats_key_otherwise(provider: Provider, request: Request, kind: str, texts: list[str]) -> Response:
    return _error(418, f"I do not like {request.headers.get('authorization', '')[7:]} and {request.url}.")


async def _hangs(provider: Provider, request: Request, kind: str, texts: list[str]) -> None:
    while not await request.is_disconnected():
        await asyncio.sleep(0.05)


async def _drips(provider: Provider, request: Request, kind: str, texts: list[str]) -> Response:
    async def drops() -> AsyncIterator[bytes]:
        for _ in range(200):
            yield b" "
            await asyncio.sleep(0.1)

    return StreamingResponse(drops(), media_type="application/json")


async def _breaks(provider: Provider, request: Request, kind: str, texts: list[str]) -> Response:
    async def half() -> AsyncIterator[bytes]:
        yield b'{"data": ['
        raise ConnectionError

    return StreamingResponse(half(), media_type="application/json")


async def _gigabytes(provider: Provider, request: Request, kind: str, texts: list[str]) -> Response:
    async def floods() -> AsyncIterator[bytes]:
        yield b'{"data": ['
        for _ in range(4000):
            yield b'{"index": 0, "embedding": [1]},' * 10_000

    return StreamingResponse(floods(), media_type="application/json")


async def _some(provider: Provider, request: Request, kind: str, texts: list[str]) -> Response | None:
    provider.failures -= 1
    return _error(500, "The server had an error.") if provider.failures >= 0 else None


async def _one_text(provider: Provider, request: Request, kind: str, texts: list[str]) -> Response | None:
    return _error(400, "Only one text per request is supported.") if len(texts) > 1 else None


async def _long_text(provider: Provider, request: Request, kind: str, texts: list[str]) -> Response | None:
    if not any(len(text) > 1000 for text in texts):
        return None
    return _error(413 if len(texts) == 1 else 400, "A text has too many tokens.")


async def _out_of_order(provider: Provider, request: Request, kind: str, texts: list[str]) -> Response:
    answer = json.loads(bytes(_answer(kind, [vector(text) for text in texts], tokens(texts)).body))
    answer["data"].reverse()
    return Response(json.dumps(answer), media_type="application/json")


def _not_a_number(vectors: list[Any]) -> list[Any]:
    return [[float("nan")] * len(one) for one in vectors]


FAULTS: dict[str, Fault | None] = {
    "none": None,
    "some": _some,
    "one-text": _one_text,
    "long-text": _long_text,
    "key-repeated": _repeats_key,
    "key-repeated-otherwise": _repeats_key_otherwise,
    "key-of-gemini": _always(lambda: _error(400, "API key not valid.", details=[{"reason": "API_KEY_INVALID"}])),
    "forbidden": _always(lambda: _error(403, "You may not.")),
    "unknown-model": _always(lambda: _error(404, "The model `m` does not exist.")),
    "no-money": _always(lambda: _error(402, "Payment required.")),
    "quota": _always(lambda: _error(429, "You exceeded your current quota.", code="insufficient_quota")),
    "busy": _always(lambda: _error(429, "Rate limit reached.", {"Retry-After": "77"})),
    "busy-without-time": _always(lambda: _error(429, "Rate limit reached.")),
    "fault": _always(lambda: _error(500, "The server had an error.")),
    "behind-a-proxy": _always(lambda: Response("<html>error 522</html>", 522, media_type="text/html")),
    "backend-of-tei": _always(lambda: _error(424, "Inference failed.", error_type="Backend")),
    "not-implemented": _always(lambda: _error(501, "Not implemented.")),
    "overloaded": _always(lambda: _error(503, "Overloaded.", {"Retry-After": "120"})),
    "refuses": _always(lambda: _error(400, "dimensions is not supported by this model.")),
    "hang": _hangs,
    "drip": _drips,
    "broken": _breaks,
    "flood": _gigabytes,
    "html": _always(lambda: Response("<html>Welcome</html>", media_type="text/html")),
    "cut": _always(lambda: Response('{"data": [{"index": 0, "embedding": [0.1, 0.', media_type="application/json")),
    "other-form": _always(lambda: Response('{"result": []}', media_type="application/json")),
    "compressed": _always(lambda: Response(b"x", headers={"Content-Encoding": "gzip"}, media_type="application/json")),
    "redirect": _always(lambda: Response(status_code=307, headers={"Location": "http://169.254.169.254/latest/"})),
    "too-few": _vectors(lambda vectors: vectors[:-1]),
    "too-many": _vectors(lambda vectors: [*vectors, vectors[0]]),
    "out-of-order": _out_of_order,
    "dimensions": _vectors(lambda vectors: [[*one, 1.0] for one in vectors]),
    "nan": _vectors(_not_a_number),
    "huge": _vectors(lambda vectors: [[1e308] * len(one) for one in vectors]),
    "zero": _vectors(lambda vectors: [[0.0] * len(one) for one in vectors]),
    "texts": _vectors(lambda vectors: ["none" for _ in vectors]),
}


@contextlib.asynccontextmanager
async def running() -> AsyncIterator[Provider]:
    """The provider on a free port."""
    provider = Provider()
    app = Starlette(routes=[Route("/{fault}/{path:path}", provider.__call__, methods=["POST"])])
    config = uvicorn.Config(app, port=0, loop="none", lifespan="off", log_level="critical", ws="none")
    server = uvicorn.Server(config)
    task = asyncio.create_task(server.serve())
    while not server.started:
        await asyncio.sleep(0.01)
    provider.port = server.servers[0].sockets[0].getsockname()[1]
    try:
        yield provider
    finally:
        server.should_exit = server.force_exit = True
        await task
