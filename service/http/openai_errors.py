"""Errors in OpenAI's format (platform.openai.com/docs/guides/error-codes, 2026-11)."""

import msgspec

from service.errors import ProblemDetails

_TYPES = {401: "authentication_error", 403: "permission_error", 404: "not_found_error", 429: "rate_limit_error"}


class OpenAIError(msgspec.Struct, frozen=True):
    """An error; `param` is its location in the request."""

    message: str
    type: str
    param: str | None = None
    code: str | None = None


class OpenAIProblem(msgspec.Struct, frozen=True):
    """The body of an error."""

    error: OpenAIError


def as_openai(problem: ProblemDetails) -> OpenAIProblem:
    """Converts a problem, with all details in one message."""
    details = [": ".join(filter(None, (one.location, one.message))) for one in problem.errors]
    usual = "server_error" if problem.status >= 500 else "invalid_request_error"
    param = problem.errors[0].location if problem.errors else None
    message = " ".join([problem.detail, *(f"{one}." for one in details)])
    return OpenAIProblem(OpenAIError(message, _TYPES.get(problem.status, usual), param, str(problem.status)))
