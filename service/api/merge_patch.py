"""PUT and PATCH of all resources, which store what a POST stores.

For a PATCH (JSON merge patch, RFC 7396), the resource is read as the body of its PUT and locked, the patch is applied,
and the result is stored like a PUT. All this is one transaction, so that concurrent patches are not lost.
"""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import wraps
from typing import Any, TypeVar

import msgspec
from msgspec.structs import replace

from service import decoding
from service.api.fields import Handle, Moment
from service.database.pool import Connection, Pool
from service.errors import BadRequest, Invalid, Problem, found
from service.http.endpoint import Endpoint
from service.http.request import Req
from service.storage.locks import locked

S = TypeVar("S", bound=msgspec.Struct)


@asynccontextmanager
async def merged(
    pool: Pool,
    patch: dict[str, Any],
    kind: type[S],
    what: str,
    lock: Callable[[Connection], Awaitable[dict[str, Any] | None]],
    owners: tuple[str, ...] = (),
) -> AsyncIterator[tuple[Connection, S]]:
    """Yields a connection in a transaction, and the patched values.

    `lock` reads the resource with the field names of its PUT, and perhaps more, and locks it, after its `owners` (see
    `service.storage.locks`). Raises NotFound with `what`, Invalid for an invalid patch, BadRequest for another handle.
    """
    changed = decoding.changes(patch, kind)
    async with locked(pool, *owners) as connection:
        stored = found(await lock(connection), what)
        fields = msgspec.structs.fields(kind)
        values = {
            field.name: _stored(stored[field.encode_name], field.type)
            for field in fields
            if field.encode_name in stored
        }
        try:
            values |= {name: _laid_over(values.get(name), value) for name, value in changed.items()}
        except RecursionError as error:
            raise decoding.unreadable(error) from None
        for field in fields:
            if field.required and values.get(field.name) is None:
                raise Invalid(problems=[Problem("is required: no value is stored", f"body.{field.encode_name}")])
        patched = kind(**values)
        if fields[0].type == Handle:
            _check_handle(stored[fields[0].name], fields[0].name, patched)
        yield connection, patched


def put(post: Endpoint, name: str) -> Endpoint:
    """The PUT of what a POST stores. The last parameter of its path, `name`, is the handle, the body's first field."""

    @wraps(post.handler)
    async def handler(req: Req, body: msgspec.Struct, **arguments: Any) -> Any:
        _check_handle(req.names[name], body.__struct_fields__[0], body)
        return await post.handler(req, body=body, **arguments)

    named = post.name.replace("post_", "put_")
    return replace(post, method="PUT", path=f"{post.path}/{{{name}}}", name=named, handler=handler)


def _check_handle(in_path: str, field: str, body: msgspec.Struct) -> None:
    """Raises BadRequest if the handle in the body is not that in the path."""
    if (in_body := getattr(body, field)) != in_path:
        problem = Problem(f"must be {in_path!r}, as in the path", f"body.{field}", in_body)
        raise BadRequest("The body contradicts the path.", [problem])


def _stored(value: Any, kind: Any) -> Any:
    """A stored value; times are strings in JSON."""
    return msgspec.convert(value, Moment) if value is not None and kind == Moment | None else value


def _laid_over(stored: Any, sent: Any) -> Any:
    """A stored value after a patch: objects are merged, other values replaced."""
    if not isinstance(sent, dict):
        return sent
    merged = dict(stored) if isinstance(stored, dict) else {}
    for name, value in sent.items():
        if value is None:
            merged.pop(name, None)
        else:
            merged[name] = _laid_over(merged.get(name), value)
    return merged
