"""HTTP for measuring: httpx takes as long as a search."""

import asyncio

import click


class Wire:
    """Kept connections to one server, as many as requests are sent at once."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._idle: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []

    async def post(self, path: str, body: bytes, kind: str, authorization: str = "") -> bytes:
        """Sends a body of the media type `kind`, and returns that of the answer. Raises for a refusal."""
        reader, writer = self._idle.pop() if self._idle else await asyncio.open_connection("127.0.0.1", self._port)
        key = f"Authorization: {authorization}\r\n" if authorization else ""
        writer.write(
            f"POST {path} HTTP/1.1\r\nHost: localhost:{self._port}\r\n{key}Content-Type: {kind}\r\n"
            f"Content-Length: {len(body)}\r\n\r\n".encode()
            + body
        )
        try:
            head = await reader.readuntil(b"\r\n\r\n")
        except asyncio.IncompleteReadError:  # the server has closed what was idle for long
            return await self.post(path, body, kind, authorization)
        content = await reader.readexactly(int(head.lower().partition(b"content-length: ")[2].split(b"\r\n")[0]))
        if not head.startswith((b"HTTP/1.1 200", b"HTTP/1.1 201")):
            raise click.ClickException(f"POST {path} was refused: {content[:500]!r}")
        self._idle.append((reader, writer))
        return content
