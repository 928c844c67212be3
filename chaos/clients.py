"""Clients that upload, delete, stream and search, and retry after every failure."""

import asyncio
import random
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any

import httpx2
import msgspec

from chaos.ledger import Ledger, content, packed, plain

TEXTS = 120  # of each client
BATCH = 20
RETRY_SECONDS = 0.05


class Clients:
    """Some clients of one project. What they are told goes into the ledger, how long it took into `seconds`.

    Each waits for `pause` seconds after an answer.
    """

    def __init__(self, urls: list[str], key: str, project: str, pause: float = 0.0) -> None:
        self.urls = urls
        self.key = key
        self.project = project
        self.pause = pause
        self.ledger = Ledger()
        self.may_stop = asyncio.Event()
        self.stopping = False
        self.statuses: Counter[tuple[str, int | str]] = Counter()
        self.seconds: dict[str, list[float]] = {}
        self.successes: list[float] = []  # when
        self.from_replica = 0  # answers

    async def run(self, seconds: float, kinds: dict[str, int]) -> None:
        """Runs several clients of each kind until they may stop; then they finish."""
        made: dict[str, Callable[[httpx2.AsyncClient, str], Awaitable[None]]] = {
            "upload": self._upload,
            "stream": self._stream,
            "search": self._search,
            "read": self._read,
        }
        running = [
            asyncio.create_task(self._client(made[kind], f"{kind}{number}"))
            for kind, count in kinds.items()
            for number in range(count)
        ]
        waiting = asyncio.create_task(self._wait(seconds))
        await asyncio.wait([*running, waiting], return_when=asyncio.FIRST_COMPLETED)  # a client ends by an error only
        waiting.cancel()
        self.stopping = True
        await asyncio.gather(*running)

    async def _wait(self, seconds: float) -> None:
        await asyncio.sleep(seconds)
        await self.may_stop.wait()

    async def _client(self, work: Callable[[httpx2.AsyncClient, str], Awaitable[None]], name: str) -> None:
        headers = {"Authorization": f"Bearer {self.key}"}
        base_url = random.choice(self.urls)
        async with httpx2.AsyncClient(base_url=base_url, headers=headers, timeout=20) as api:
            await work(api, name)

    async def ask(
        self, api: httpx2.AsyncClient, kind: str, method: str, path: str, good: tuple[int, ...], **more: Any
    ) -> httpx2.Response:
        """Repeats a request until it succeeds, and returns the answer. A refusal as wrong is a fault of ours."""
        while True:
            start = time.monotonic()
            try:
                answer = await api.request(method, path, **more)
            except httpx2.TransportError as error:
                self.statuses[kind, type(error).__name__] += 1
            else:
                self.statuses[kind, answer.status_code] += 1
                if answer.status_code in good:
                    self.successes.append(time.monotonic())
                    self.seconds.setdefault(kind, []).append(self.successes[-1] - start)
                    self.from_replica += answer.headers.get("x-read-from") == "replica"
                    await asyncio.sleep(self.pause)
                    return answer
                if answer.status_code < 500 and answer.status_code != 429:
                    raise AssertionError(f"{method} {path}: {answer.status_code} {answer.text[:300]}")
            await asyncio.sleep(RETRY_SECONDS)

    async def _upload(self, api: httpx2.AsyncClient, name: str) -> None:
        """New texts, new versions, the same again, and deletions."""
        chance = random.Random(name)
        ids = [f"{name}-{number:04}" for number in range(TEXTS)]
        version = 0
        while not self.stopping:
            version += 1
            versions: dict[str, int | None] = dict.fromkeys(chance.sample(ids, BATCH), version)
            rows = [content(text_id, version) for text_id in versions]
            body, kind = (plain(rows), "json") if version % 2 else (packed(rows), "msgpack")
            headers = {"Content-Type": f"application/{kind}"}
            for _ in range(chance.choice((1, 1, 2))):  # sending again changes nothing
                self.ledger.attempt(versions)
                path = f"/v1/embeddings/{self.project}"
                await self.ask(api, "upload", "POST", path, (201,), content=body, headers=headers)
                self.ledger.acknowledge(versions)
            if chance.random() < 0.3:
                gone = chance.choice(list(versions))
                self.ledger.attempt({gone: None})
                await self.ask(api, "delete", "DELETE", f"/v1/embeddings/{self.project}/{gone}", (204, 404))
                self.ledger.acknowledge({gone: None})

    async def _stream(self, api: httpx2.AsyncClient, name: str) -> None:
        """Streams of all texts in a version; the last line says how many are safe. Again, until all are."""
        ids = [f"{name}-{number:04}" for number in range(TEXTS * 5)]
        version = 0
        while not self.stopping:
            version += 1
            versions: dict[str, int | None] = dict.fromkeys(ids, version)
            self.ledger.attempt(versions)
            while not await self._send_stream(api, ids, version):
                pass

    async def _send_stream(self, api: httpx2.AsyncClient, ids: list[str], version: int) -> bool:
        async def body() -> Any:
            for start in range(0, len(ids), 50):
                rows = [msgspec.json.encode(content(text_id, version)) for text_id in ids[start : start + 50]]
                yield b"\n".join(rows) + b"\n"
                await asyncio.sleep(max(self.pause, 0.005))

        line: dict[str, Any] = {"rows": 0, "done": False}
        headers = {"Content-Type": "application/x-ndjson"}
        path = f"/v1/embeddings/{self.project}/stream"
        try:
            async with api.stream("POST", path, content=body(), headers=headers) as answer:
                self.statuses["stream", answer.status_code] += 1
                if answer.status_code == 200:
                    async for text in answer.aiter_lines():
                        line = {"done": False, **msgspec.json.decode(text)}
        except httpx2.TransportError as error:
            self.statuses["stream", type(error).__name__] += 1
        self.ledger.acknowledge(dict.fromkeys(ids[: line["rows"]], version))
        if line["done"]:
            self.successes.append(time.monotonic())
        else:
            await asyncio.sleep(RETRY_SECONDS)
        return bool(line["done"])

    async def _search(self, api: httpx2.AsyncClient, name: str) -> None:
        chance = random.Random(name)
        while not self.stopping:
            vector = [chance.uniform(-1, 1) for _ in range(len(content("", 0)["vector"]))]
            path = f"/v1/similars/{self.project}?threshold=-1"
            await self.ask(api, "search", "POST", path, (200,), json={"vector": vector})
            await asyncio.sleep(0.002)

    async def _read(self, api: httpx2.AsyncClient, name: str) -> None:
        """Texts as they were acknowledged, which the primary must know; a replica may not know them yet."""
        chance = random.Random(name)
        while not self.stopping:
            await asyncio.sleep(0.005)
            text_id = chance.choice([*self.ledger.allowed, ""])
            version = self.ledger.settled(text_id)
            if version is None:
                continue
            path = f"/v1/embeddings/{self.project}/{text_id}"
            await self.ask(api, "read", "GET", path, (200, 404))
            answer = await self.ask(api, "read", "GET", path, (200, 404), headers={"X-Read-From": "primary"})
            if self.ledger.settled(text_id) != version:
                continue  # it was being changed meanwhile
            stored = answer.json()
            if any(stored.get(field) != value for field, value in content(text_id, version).items()):
                raise AssertionError(f"{text_id} is not as it was acknowledged: {answer.text[:300]}")
