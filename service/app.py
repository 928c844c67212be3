"""The application: routes, middleware, error handlers, and what lives as long as it does."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware

from service import embedded, partitions, settings
from service.api import endpoints
from service.crypto import Cipher
from service.db import open_pool
from service.http import State, render_routing, routes
from service.middleware import RawPath, RequestId
from service.settings import Settings


def create_app(config: Settings) -> Starlette:
    """The service on a migrated database; `service.__main__` sees to that."""

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[State]:
        pool = await open_pool(
            config.named_database_url or embedded.url(config.service_data_dir),
            size=config.service_pool_size,
            statement_timeout=config.service_statement_timeout,
        )
        async with pool:
            await partitions.drop_orphans(pool)  # what a deletion that was interrupted left behind
            yield State(pool=pool, settings=config, cipher=Cipher(config.encryption_key))

    app = Starlette(
        routes=routes(endpoints),
        middleware=[Middleware(RequestId), Middleware(RawPath)],
        exception_handlers={HTTPException: render_routing},
        lifespan=lifespan,
    )
    app.router.redirect_slashes = False
    return app


def from_environment() -> Starlette:
    """For uvicorn's worker processes, which find their settings themselves."""
    return create_app(settings.load())
