"""The console: a web page made of static files, which uses the public API only."""

import gzip
import hashlib
from functools import cache
from pathlib import Path
from typing import Annotated

import msgspec
from starlette.responses import RedirectResponse, Response

from service.errors import NotFound
from service.http.auth import anyone
from service.http.endpoint import endpoint
from service.http.request import Req

FOLDER = Path(__file__).parent.parent / "console"
KINDS = {".html": "text/html", ".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml"}
# The console may load from and connect to this service only. Inline scripts and styles are forbidden, and no text can
# become a script or markup (trusted types), so that stored data is never executed.
CONTENT_SECURITY_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'"
)
HEADERS = {
    "Cache-Control": "no-cache",  # the files change with the version
    "Content-Security-Policy": CONTENT_SECURITY_POLICY,
    "Cross-Origin-Opener-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "Vary": "Accept-Encoding",
}

Name = Annotated[str, msgspec.Meta(min_length=1, max_length=64)]


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
    return _file(req, "index.html")


@endpoint("GET", "/console/{file}", guard=anyone, produces="text/*")
async def get_console_file(req: Req, file: Name) -> Response:
    """A file of the console."""
    return _file(req, file)


@endpoint("GET", "/console/{folder}/{file}", guard=anyone, produces="text/*")
async def get_console_folder_file(req: Req, folder: Name, file: Name) -> Response:
    """A file in a folder of the console."""
    return _file(req, f"{folder}/{file}")


def _file(req: Req, name: str) -> Response:
    file = _files().get(name)
    if file is None:
        raise NotFound("The console has no such file.")
    headers = {**HEADERS, "ETag": file.tag}
    if file.tag in req.headers.get("if-none-match", ""):
        return Response(status_code=304, headers=headers)
    if "gzip" in req.headers.get("accept-encoding", ""):
        return Response(file.compressed, headers={**headers, "Content-Encoding": "gzip"}, media_type=file.kind)
    return Response(file.content, headers=headers, media_type=file.kind)


@cache
def _files() -> dict[str, _File]:
    """All files by name, so that no name in a request reaches the file system."""
    found = {}
    for path in FOLDER.rglob("*"):
        if path.suffix in KINDS:
            content = path.read_bytes()
            tag = f'"{hashlib.sha256(content).hexdigest()[:32]}"'
            file = _File(content, gzip.compress(content, mtime=0), KINDS[path.suffix], tag)
            found[path.relative_to(FOLDER).as_posix()] = file
    return found
