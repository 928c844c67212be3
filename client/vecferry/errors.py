"""What can go wrong. None of it ever holds a key."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

if TYPE_CHECKING:
    from vecferry.results import UploadResult
    from vecferry.rows import BadRow

SHOWN = 5  # problems that the text of an error names


class Fault(msgspec.Struct, frozen=True):
    """One thing that is wrong with a request: the reason, where (like `body.embeddings[3].vector`), and the value."""

    reason: str = msgspec.field(name="message")
    where: str | None = msgspec.field(name="location", default=None)
    value: Any = None


class Problem(msgspec.Struct, frozen=True):
    """What the service says of a request that it refused; at most 100 `problems`."""

    title: str
    status: int
    detail: str = ""
    problems: list[Fault] = msgspec.field(name="errors", default_factory=list)


class VecferryError(Exception):
    """All errors of this package. `uploaded` is what an upload had stored when it ended with this error."""

    uploaded: UploadResult | None = None

    def __str__(self) -> str:
        text = super().__str__()
        if self.uploaded is None:
            return text
        stored = f"{self.uploaded.stored:,} rows were stored before; sending all again is harmless."
        return f"{text.rstrip('.')}. {stored}"


class ConnectionFailed(VecferryError):
    """No answer came: the service is away, the address is wrong, or the connection broke, again and again."""


class BadAnswer(VecferryError):
    """What answered is not the service, or is of a version that this client does not understand."""


class BadRows(VecferryError):
    """An upload with `on_bad_row="stop"` met rows that cannot be stored: `rows`."""

    def __init__(self, rows: list[BadRow]) -> None:
        self.rows = rows
        first = rows[0]
        more = f" (and {len(rows) - 1} more)" if len(rows) > 1 else ""
        super().__init__(f"Row {first.place} (text_id {first.text_id!r}) cannot be stored: {first.reason}{more}.")


class ServiceError(VecferryError):
    """The service refused a request: `problem` says why, `status` is that of HTTP.

    `request_id` finds the request in the service's log; `retry_after` are the seconds that it asks to wait.
    """

    def __init__(self, problem: Problem, *, request_id: str | None = None, retry_after: float | None = None) -> None:
        self.problem, self.request_id, self.retry_after = problem, request_id, retry_after
        super().__init__(_sentences(problem))

    @property
    def status(self) -> int:
        """The status of the answer."""
        return self.problem.status


class BadRequest(ServiceError):
    """400: the request is not readable, or contradicts its path, the project or the stored rows."""


class Unauthorized(ServiceError):
    """401: there was no key, or the service does not know it."""


class Forbidden(ServiceError):
    """403: this key is not allowed to do that."""


class NotFound(ServiceError):
    """404: there is nothing of that name."""


class RequestTimeout(ServiceError):
    """408: the request came too slowly."""


class Conflict(ServiceError):
    """409: it conflicts with what is stored."""


class Gone(ServiceError):
    """410: changes since then are not known any more."""


class TooLarge(ServiceError):
    """413: the body is larger than the service, or a proxy before it, takes."""


class UnsupportedMediaType(ServiceError):
    """415: the service does not understand this type of body."""


class Invalid(ServiceError):
    """422: some values are not valid; `problem.problems` names each."""


class ProviderRefused(ServiceError):
    """424: the provider of an instance refuses its key, its model or the request."""


class TooManyRequests(ServiceError):
    """429: too many requests in a short time, or a budget that is spent."""


class BadGateway(ServiceError):
    """502: a provider's answer is not usable, or a proxy does not reach the service."""


class Unavailable(ServiceError):
    """503: the service, its database or a provider is busy, away or stopping."""


class GatewayTimeout(ServiceError):
    """504: a provider, or the service behind a proxy, is late."""


BY_STATUS: dict[int, type[ServiceError]] = {
    400: BadRequest,
    401: Unauthorized,
    403: Forbidden,
    404: NotFound,
    408: RequestTimeout,
    409: Conflict,
    410: Gone,
    413: TooLarge,
    415: UnsupportedMediaType,
    422: Invalid,
    424: ProviderRefused,
    429: TooManyRequests,
    502: BadGateway,
    503: Unavailable,
    504: GatewayTimeout,
}


def _sentences(problem: Problem) -> str:
    text = problem.detail or f"The service answered {problem.status} {problem.title}."
    faults = [f"{one.where}: {one.reason}" if one.where else one.reason for one in problem.problems[:SHOWN]]
    more = len(problem.problems) - SHOWN
    return " ".join([text, *(f"{one}." for one in faults), *([f"And {more} more."] if more > 0 else [])])
