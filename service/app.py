"""The application: routes, middleware and long-lived services."""

import asyncio
import contextlib
import math
import time
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager

import msgspec
from starlette.routing import Router
from starlette.types import ASGIApp

from service import settings
from service.admission import Shares, for_callers
from service.api.routes import endpoints
from service.database import embedded, session
from service.database.pool import closing, open_pool
from service.http import openapi
from service.http.middleware import Cors, Observed
from service.http.rate_limit import RateLimits
from service.http.request import Services, State
from service.http.routing import PathRouter, routes
from service.metadata.schemas import Schemas
from service.observability import logs, tracing
from service.observability.logs import logger
from service.provider_keys.keyring import Keyring
from service.providers.embedder import Embedder
from service.search.slow import SlowSearches
from service.server import shutdown
from service.settings import Settings
from service.storage import indexer, replica, tables
from service.storage.real_queries import RealQueries, measuring
from service.turns import beside

PROBE_SECONDS = 2.0
PAUSE_SECONDS = 1.0  # between attempts to reach the database


def create_app(config: Settings) -> ASGIApp:
    """The ASGI application for a migrated database."""
    served = [one for one in endpoints if config.service_debug or not one.only_debug]
    document = openapi.document(served)
    encoded = {"json": msgspec.json.encode(document), "yaml": msgspec.yaml.encode(document)}

    @asynccontextmanager
    async def lifespan(_: Router) -> AsyncIterator[State]:
        url = config.named_database_url or embedded.url(config.service_data_dir)
        size, share, wait = config.service_pool_size, config.service_caller_share, config.service_wait_seconds
        timeout = config.service_statement_timeout
        pool = await open_pool(url, size=size, statement_timeout=timeout, wait=wait, share=share)
        # Separate, so that probes do not queue behind users.
        probe_pool = await open_pool(url, size=1, statement_timeout=PROBE_SECONDS, wait=PROBE_SECONDS)
        draining, rate_limits = asyncio.Event(), None
        users, anonymous = config.service_rate_limit, config.service_rate_limit_anonymous
        if users or anonymous:
            rate_limits = RateLimits(users=users, anonymous=anonymous, storage=config.service_rate_limit_storage)
        traces = tracing.tracing() if config.service_tracing else contextlib.nullcontext()
        real_queries, keyring = RealQueries(), Keyring(config.encryption_key, config.previous_keys)
        async with (
            closing(probe_pool),
            closing(pool),
            beside(indexer.run(url, config.index_aims)) if config.service_indexer else contextlib.nullcontext(),
            beside(measuring(url, config.service_recall, real_queries)),
            replica.watching(url, config) as reads,
            aclosing(rate_limits) if rate_limits is not None else contextlib.nullcontext(),
            aclosing(Schemas(wait=wait)) as schemas,
            aclosing(Embedder(pool, keyring, config)) as embedder,
        ):
            await tables.drop_orphans(pool)  # left by interrupted deletions
            services = Services(
                settings=config,
                pool=pool,
                probe_pool=probe_pool,
                replica=reads,
                keyring=keyring,
                memory=Shares(
                    config.service_bodies_bytes,
                    part=max(math.ceil(share * config.service_bodies_bytes), config.service_max_body_bytes),
                    reserve=0,
                    wait=wait,
                    what="bytes of large requests and answers in memory",
                ),
                # The other connections serve small requests.
                uploads=for_callers(max(1, size // 2), share, wait=wait, what="uploads in progress"),
                schemas=schemas,
                rate_limits=rate_limits,
                draining=draining,
                openapi=encoded,
                real_queries=real_queries,
                slow_searches=SlowSearches.from_now(),
                embedder=embedder,
                remembered={},
            )
            with traces, shutdown.announced(draining, config.service_drain_seconds):
                yield State(services=services)

    # Not Starlette's application class, whose error handling would wrap that of service.http.
    app: ASGIApp = PathRouter(routes(served), redirect_slashes=False, lifespan=lifespan)
    app = Cors(
        app,
        allow_origins=config.cors_origins,
        allow_methods=["*"],
        # Safe with any origin: browsers never add the key by themselves.
        allow_headers=["*"],
        expose_headers=[
            *("X-Request-ID", "X-Read-From", "Retry-After", "Deprecation", "Link", "WWW-Authenticate"),
            *("RateLimit-Limit", "RateLimit-Remaining", "RateLimit-Reset"),
        ],
        max_age=600,
    )
    app = Observed(app)
    return tracing.Traced(app) if config.service_tracing else app


def from_environment() -> ASGIApp:
    """The application for uvicorn's worker processes, which load the settings themselves.

    Waits for the database: uvicorn would end all workers if a new one, in place of a killed one, fails to start.
    """
    config = settings.load()
    logs.configure(config.service_log_format, debug=config.service_debug)
    url = config.named_database_url or embedded.url(config.service_data_dir)
    with shutdown.at_once():
        while not session.is_available(url):
            logger.warning("The database is unavailable; this worker waits for it.")
            time.sleep(PAUSE_SECONDS)
    return create_app(config)
