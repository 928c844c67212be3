"""JSON merge patch (RFC 7396), one mechanism for every kind of resource.

The resource is read as the body of its PUT and locked, the patch is laid over it, and the result is stored
as a PUT would: all in one transaction, so that of two patches at once neither is lost.
"""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, TypeVar

import msgspec

from service import decoding
from service.api.fields import Moment
from service.database.pool import Connection, Pool
from service.errors import Invalid, Problem, found
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
    """Yields a connection in a transaction, and the stored values with the patch laid over them.

    `lock` reads the resource, by the names of its PUT, and locks it, after its `owners` (see `service.storage.locks`).
    Raises NotFound with `what`, and Invalid for a patch that does not fit.
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
                raise Invalid(problems=[Problem("is required: there is none yet", f"body.{field.encode_name}")])
        yield connection, kind(**values)


def _stored(value: Any, kind: Any) -> Any:
    """A stored value; JSON has times as texts."""
    return msgspec.convert(value, Moment) if value is not None and kind == Moment | None else value


def _laid_over(stored: Any, sent: Any) -> Any:
    """What becomes of a value: of two objects one, null removing what is in it; anything else replaces."""
    if not isinstance(sent, dict):
        return sent
    merged = dict(stored) if isinstance(stored, dict) else {}
    for name, value in sent.items():
        if value is None:
            merged.pop(name, None)
        else:
            merged[name] = _laid_over(merged.get(name), value)
    return merged
