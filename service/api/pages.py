"""Pages in a browser, made of static files: the console, and a page to read and try the OpenAPI document.

They use the public API only (contract section 9), and no files of other hosts.
"""

import gzip
import hashlib
from functools import cache
from pathlib import Path
from typing import Annotated, Literal

import msgspec
from starlette.responses import RedirectResponse, Response

from service.errors import NotFound
from service.http.auth import anyone
from service.http.endpoint import endpoint
from service.http.request import Req

CONSOLE, DOCS = Path(__file__).parent.parent / "console", Path(__file__).parent / "docs_page"
KINDS = {".html": "text/html", ".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml"}
# The pages may load from and connect to this service only. In the console, inline scripts and styles are forbidden, and
# no text can become a script or markup (trusted types), so that stored data is never executed.
CONTENT_SECURITY_POLICIES = {
    CONSOLE: "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; "
    "trusted-types 'none'",
    DOCS: "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
}
REVALIDATED = {"Cache-Control": "no-cache"}  # the files change with the version
HEADERS = {
    **REVALIDATED,
    "Cross-Origin-Opener-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "Vary": "Accept-Encoding",
}

Name = Annotated[str, msgspec.Meta(min_length=1, max_length=64)]
Asset = Literal["start.js", "swagger-ui-bundle.js", "swagger-ui.css"]


class _File(msgspec.Struct, frozen=True):
    content: bytes
    compressed: bytes
    kind: str
    tag: str


@endpoint("GET", "/console", guard=anyone, status=307, produces="text/html")
async def get_console(req: Req) -> Response:
    """Redirect to the console."""
    # Relative, so that it works behind a path prefix.
    return RedirectResponse("console/", headers={"Content-Type": "text/html"})


@endpoint("GET", "/console/", guard=anyone, produces="text/html")
async def get_console_page(req: Req) -> Response:
    """The console: projects, searches and the service, in a browser."""
    return _file(req, CONSOLE, "index.html")


@endpoint("GET", "/console/{file}", guard=anyone, produces="text/*")
async def get_console_file(req: Req, file: Name) -> Response:
    """A file of the console."""
    return _file(req, CONSOLE, file)


@endpoint("GET", "/console/{folder}/{file}", guard=anyone, produces="text/*")
async def get_console_folder_file(req: Req, folder: Name, file: Name) -> Response:
    """A file in a folder of the console."""
    return _file(req, CONSOLE, f"{folder}/{file}")


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
    return _file(req, DOCS, "index.html")


@endpoint("GET", "/docs/{asset}", guard=anyone, produces="text/*")
async def get_docs_asset(req: Req, asset: Asset) -> Response:
    """A file of the page."""
    return _file(req, DOCS, asset)


def _file(req: Req, folder: Path, name: str) -> Response:
    file = _files(folder).get(name)
    if file is None:
        raise NotFound("The console has no such file.")
    headers = {**HEADERS, "Content-Security-Policy": CONTENT_SECURITY_POLICIES[folder], "ETag": file.tag}
    if file.tag in req.headers.get("if-none-match", ""):
        return Response(status_code=304, headers=headers)
    if "gzip" in req.headers.get("accept-encoding", ""):
        return Response(file.compressed, headers={**headers, "Content-Encoding": "gzip"}, media_type=file.kind)
    return Response(file.content, headers=headers, media_type=file.kind)


@cache
def _files(folder: Path) -> dict[str, _File]:
    """All files of a page by name, so that no name in a request reaches the file system."""
    found = {}
    for path in folder.rglob("*"):
        name = path.relative_to(folder).as_posix().removesuffix(".gz")
        if (kind := KINDS.get(Path(name).suffix)) is not None:
            stored, is_compressed = path.read_bytes(), path.suffix == ".gz"
            content = gzip.decompress(stored) if is_compressed else stored
            tag = f'"{hashlib.sha256(content).hexdigest()[:32]}"'
            found[name] = _File(content, stored if is_compressed else gzip.compress(stored, mtime=0), kind, tag)
    return found
