"""The address itself: people are led to the console, programs are told where things are."""

import msgspec
from starlette.responses import RedirectResponse, Response

from service import __version__
from service.http.auth import anyone
from service.http.endpoint import endpoint
from service.http.limits import MAX_ACCEPT_LENGTH
from service.http.request import Req
from service.http.responses import encode


class Links(msgspec.Struct, frozen=True):
    """Where things are, relative to this address, so that they are right behind a path prefix, too."""

    console: str = "console/"
    docs: str = "docs"
    openapi: str = "openapi.json"
    health: str = "healthz"


class About(msgspec.Struct, frozen=True):
    """What this service is, and where to go on."""

    version: str
    links: Links
    title: str = "embedding-service"
    description: str = "Keeps embeddings for many users and projects, and answers what is similar."


@endpoint("GET", "/", guard=anyone)
async def get_root(req: Req) -> Response:
    """What this service is, and where its documentation, its console and its health are; browsers go to the console."""
    req.answer_headers["Vary"] = "Accept"
    if "text/html" in req.headers.get("accept", "")[:MAX_ACCEPT_LENGTH].lower():
        return RedirectResponse("console/")
    return await encode(About(__version__, Links()), accept=req.headers.get("accept"))


endpoints = [get_root]
