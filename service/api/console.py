"""The console: a page in the browser for people, made of static files that talk to the public interface only."""

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
# The console loads files of this service only, and talks to no other. No script or style stands within the page, and
# no text becomes a script or markup (trusted types), so that what users store is never run.
CONTENT_SECURITY_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'"
)
HEADERS = {
    "Cache-Control": "no-cache",  # the same for everybody, but not for every version
    "Content-Security-Policy": CONTENT_SECURITY_POLICY,
    "Cross-Origin-Opener-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "Vary": "Accept-Encoding",
}

Name = Annotated[str, msgspec.Meta(min_length=1, max_length=64)]


class FilePath(msgspec.Struct, frozen=True):
    """A path that names a file of the console."""

    file: Name


class FolderFilePath(msgspec.Struct, frozen=True):
    """A path that names a file in a folder of the console."""

    folder: Name
    file: Name


class _File(msgspec.Struct, frozen=True):
    content: bytes
    compressed: bytes
    kind: str
    tag: str


@endpoint("GET", "/console", guard=anyone, status=307, produces="text/html")
async def get_console(req: Req) -> Response:
    """To the console; its files are named relative to `/console/`."""
    # Relative, so that it is right behind a path prefix, too.
    return RedirectResponse("console/", headers={"Content-Type": "text/html"})


@endpoint("GET", "/console/", guard=anyone, produces="text/html")
async def get_console_page(req: Req) -> Response:
    """The console: projects, searches and the service, in a browser."""
    return _file(req, "index.html")


@endpoint("GET", "/console/{file}", guard=anyone, errors=(404,), produces="text/*")
async def get_console_file(req: Req, path: FilePath) -> Response:
    """A file of the console."""
    return _file(req, path.file)


@endpoint("GET", "/console/{folder}/{file}", guard=anyone, errors=(404,), produces="text/*")
async def get_console_folder_file(req: Req, path: FolderFilePath) -> Response:
    """A file in a folder of the console."""
    return _file(req, f"{path.folder}/{path.file}")


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
    """All files by their names, so that no name which a client sends is looked for on the disk."""
    found = {}
    for path in FOLDER.rglob("*"):
        if path.suffix in KINDS:
            content = path.read_bytes()
            tag = f'"{hashlib.sha256(content).hexdigest()[:32]}"'
            file = _File(content, gzip.compress(content, mtime=0), KINDS[path.suffix], tag)
            found[path.relative_to(FOLDER).as_posix()] = file
    return found


endpoints = [get_console, get_console_page, get_console_file, get_console_folder_file]
