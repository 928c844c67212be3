"""The console, and the page that shows the interface, behind a proxy that serves them below a path."""

import asyncio
from collections.abc import AsyncIterator, Callable

import pytest
import uvicorn
from playwright.async_api import Browser, expect
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from tests.conftest import ADMIN_KEY, client_of, settings_for
from tests.support.browser import NEEDS_CHROMIUM, opened, tried_out

pytestmark = [pytest.mark.slow, NEEDS_CHROMIUM]
PREFIX = "/tools/embeddings"


@pytest.fixture
async def below(new_database: Callable[..., str]) -> AsyncIterator[str]:
    """The URL of a service as a proxy shows it, which takes the prefix away and answers nothing else."""
    async with client_of(settings_for(new_database(), service_indexer=False)) as service:

        async def forward(request: Request) -> Response:
            target = request.scope["raw_path"].decode().removeprefix(PREFIX)
            if query := request.url.query:
                target += f"?{query}"
            sent = {name: value for name, value in request.headers.items() if name not in {"host", "accept-encoding"}}
            answer = await service.request(request.method, target, content=await request.body(), headers=sent)
            kept = {name: value for name, value in answer.headers.items() if name != "content-encoding"}
            return Response(answer.content, answer.status_code, {**kept, "content-length": str(len(answer.content))})

        methods = ["GET", "POST", "PUT", "PATCH", "DELETE"]
        routes = [Route(f"{PREFIX}/{{rest:path}}", forward, methods=methods)]
        server = uvicorn.Server(uvicorn.Config(Starlette(routes=routes), port=0, log_level="warning", ws="none"))
        running = asyncio.create_task(server.serve())
        while not server.started:
            await asyncio.sleep(0.01)
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}{PREFIX}"
        server.should_exit = True
        await running


async def test_the_console(chromium: Browser, below: str) -> None:
    async with opened(chromium, below) as console:
        page = console.page
        await page.goto(f"{below}/console")  # without the slash, as people type it
        await console.sign_in(ADMIN_KEY)
        assert page.url.startswith(f"{below}/console/")
        await page.get_by_role("navigation").get_by_role("link", name="Users").click()
        await expect(page.get_by_role("link", name="_system")).to_be_visible()
        await page.reload()
        await expect(page.get_by_role("link", name="_system")).to_be_visible()


async def test_the_page_of_the_interface(chromium: Browser, below: str) -> None:
    """It loads, and what one tries there goes to the service, too."""
    async with opened(chromium, below) as tab:
        await tab.page.goto(f"{below}/docs")
        await expect(await tried_out(tab.page, "[id$=-get_standards]")).to_contain_text("Google Gemini")
