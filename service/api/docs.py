"""The OpenAPI document, and a page to read and try it (contract section 9), without files of other hosts."""

from functools import cache
from pathlib import Path
from typing import Literal

from starlette.responses import Response

from service.http.auth import anyone
from service.http.endpoint import endpoint
from service.http.request import Req

PAGE = Path(__file__).parent / "docs_page"
# File, possibly compressed, and media type by name.
ASSETS = {
    "index.html": ("index.html", "text/html"),
    "start.js": ("start.js", "text/javascript"),
    "swagger-ui-bundle.js": ("swagger-ui-bundle.js.gz", "text/javascript"),
    "swagger-ui.css": ("swagger-ui.css.gz", "text/css"),
}
# The page may load from and connect to this service only. It uses inline styles.
CONTENT_SECURITY_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
Asset = Literal["start.js", "swagger-ui-bundle.js", "swagger-ui.css"]
REVALIDATED = {"Cache-Control": "no-cache"}  # the files change with the version


@endpoint("GET", "/openapi.json", guard=anyone)
async def get_openapi_json(req: Req) -> Response:
    """This document as JSON."""
    return Response(req.services.openapi["json"], headers=REVALIDATED, media_type="application/json")


@endpoint("GET", "/openapi.yaml", guard=anyone, produces="application/yaml")
async def get_openapi_yaml(req: Req) -> Response:
    """This document as YAML."""
    return Response(req.services.openapi["yaml"], headers=REVALIDATED, media_type="application/yaml")


@endpoint("GET", "/docs", guard=anyone, produces="text/html")
async def get_docs(req: Req) -> Response:
    """A page to read this document and try requests."""
    return _asset("index.html")


@endpoint("GET", "/docs/{asset}", guard=anyone, produces="text/*")
async def get_docs_asset(req: Req, asset: Asset) -> Response:
    """A file of the page."""
    return _asset(asset)


def _asset(name: str) -> Response:
    file, kind = ASSETS[name]
    headers = {**REVALIDATED, "Content-Security-Policy": CONTENT_SECURITY_POLICY, "Referrer-Policy": "no-referrer"}
    if file.endswith(".gz"):
        headers["Content-Encoding"] = "gzip"  # supported by every browser
    return Response(_content(file), headers=headers, media_type=kind)


@cache
def _content(file: str) -> bytes:
    return (PAGE / file).read_bytes()
