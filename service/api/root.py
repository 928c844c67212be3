"""The root: redirects browsers to the console, and lists links for programs."""

import msgspec
from starlette.responses import RedirectResponse, Response

from service import __version__
from service.http.auth import anyone
from service.http.endpoint import endpoint
from service.http.limits import MAX_ACCEPT_LENGTH
from service.http.request import Req
from service.http.responses import encode


class Links(msgspec.Struct, frozen=True):
    """Links relative to the root, which work behind a path prefix."""

    console: str = "console/"
    docs: str = "docs"
    openapi: str = "openapi.json"
    health: str = "healthz"


class About(msgspec.Struct, frozen=True):
    """A description of the service, with links."""

    version: str
    links: Links
    title: str = "embedding-service"
    description: str = "Stores embeddings for many users and projects, and finds similar ones."


@endpoint("GET", "/", guard=anyone)
async def get_root(req: Req) -> Response:
    """A description of the service with links; browsers are redirected to the console."""
    req.answer_headers["Vary"] = "Accept"
    if "text/html" in req.headers.get("accept", "")[:MAX_ACCEPT_LENGTH].lower():
        return RedirectResponse("console/")
    return await encode(About(__version__, Links()), accept=req.headers.get("accept"))
