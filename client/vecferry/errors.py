"""The errors of this package. None of them ever contains a key."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

if TYPE_CHECKING:
    from vecferry.results import UploadResult
    from vecferry.rows import BadRow

SHOWN = 5  # problems that the text of an error names


class Fault(msgspec.Struct, frozen=True):
    """One problem of a request: the reason, where (like `body.embeddings[3].vector`), and the value."""

    reason: str = msgspec.field(name="message")
    where: str | None = msgspec.field(name="location", default=None)
    value: Any = None


class Problem(msgspec.Struct, frozen=True):
    """The answer of the service to a request that it refused; at most 100 `problems`."""

    title: str
    status: int
    detail: str = ""
    problems: list[Fault] = msgspec.field(name="errors", default_factory=list)


class VecferryError(Exception):
    """All errors of this package. `uploaded` is the result of an upload until it ended with this error."""

    uploaded: UploadResult | None = None

    def __str__(self) -> str:
        text = super().__str__()
        if self.uploaded is None:
            return text
        stored = f"{self.uploaded.stored:,} rows were stored before; sending all again is harmless."
        return f"{text.rstrip('.')}. {stored}"


class ConnectionFailed(VecferryError):
    """No answer after all attempts: the service is not running, the address is wrong, or the connection broke."""


class BadAnswer(VecferryError):
    """The answer is not one of the service, or of a version that this client does not support."""


class NotReady(VecferryError, TimeoutError):
    """The service has not finished something in the time to wait; asked again later, it may have."""


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
    """400: the request is malformed, or contradicts its path, the project or the stored rows."""


class Unauthorized(ServiceError):
    """401: the key is missing or unknown."""


class Forbidden(ServiceError):
    """403: this key is not allowed to do this."""


class NotFound(ServiceError):
    """404: not found."""


class RequestTimeout(ServiceError):
    """408: the request took too long to arrive."""


class Conflict(ServiceError):
    """409: a conflict with stored data."""


class Gone(ServiceError):
    """410: the changes since then are no longer available."""


class TooLarge(ServiceError):
    """413: the body exceeds the limit of the service, or of a proxy before it."""


class UnsupportedMediaType(ServiceError):
    """415: the service does not support this content type."""


class Invalid(ServiceError):
    """422: some values are invalid; `problem.problems` names each."""


class ProviderRefused(ServiceError):
    """424: the provider of an instance refuses its key, its model or the request."""


class TooManyRequests(ServiceError):
    """429: too many requests in a short time, or an exhausted budget."""


class BadGateway(ServiceError):
    """502: a provider's answer is invalid, or a proxy does not reach the service."""


class Unavailable(ServiceError):
    """503: the service, its database or a provider is busy, unavailable or shutting down."""


class GatewayTimeout(ServiceError):
    """504: a provider, or the service behind a proxy, timed out."""


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
