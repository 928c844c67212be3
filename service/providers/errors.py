"""Errors of providers, as callers get them.

Their details are raised as what the provider does ("cannot be reached"), and shown as sentences (`told`).
"""

from http import HTTPStatus

import numpy as np
from numpy.typing import NDArray

from service.errors import ApiError, Invalid, Problem
from service.providers.spent import Spent

USUAL_PAUSE = 5.0  # seconds after which to try again, where the provider does not say


class ProviderError(ApiError):
    """The provider could not be used."""

    status = HTTPStatus.BAD_GATEWAY

    def __init__(self, detail: str, retry_after: float | None = None) -> None:
        super().__init__(detail)
        self.retry_after = retry_after
        if retry_after is not None:
            self.headers = {"Retry-After": str(max(1, round(retry_after)))}  # type: ignore[misc]  # of this one

    def told(self, instance: str) -> "ProviderError":
        """The error as the caller of an instance gets it."""
        pause = USUAL_PAUSE if isinstance(self, (Down, Late, RateLimited)) else None
        return type(self)(f"The provider of {instance} {self.detail}.", self.retry_after or pause)


class BadAnswer(ProviderError):
    """The provider's answer does not fit the request."""


class Refused(ProviderError):
    """The provider refuses the key, the model or the request: the instance's owner has to change something."""

    status = HTTPStatus.FAILED_DEPENDENCY


class RateLimited(ProviderError):
    """The provider, or a budget, allows no more for the moment."""

    status = HTTPStatus.TOO_MANY_REQUESTS


class Down(ProviderError):
    """The provider does not work at the moment."""

    status = HTTPStatus.SERVICE_UNAVAILABLE


class Unreachable(Down):
    """No connection could be made: nothing was sent, so that it may be repeated."""


class Faulty(Down):
    """The provider says that it has a fault."""


class Late(ProviderError):
    """The provider did not answer in time."""

    status = HTTPStatus.GATEWAY_TIMEOUT


class BadTexts(Exception):
    """Some texts cannot be embedded: why, by their places.

    `vectors` are those of all texts, `(n, dimensions) float32`, of which those of the bad ones mean nothing.
    """

    def __init__(self, reasons: dict[int, str], vectors: NDArray[np.float32], spent: Spent) -> None:
        super().__init__(f"{len(reasons)} texts cannot be embedded")
        self.reasons, self.vectors, self.spent = reasons, vectors, spent

    def located(self, places: list[str]) -> Invalid:
        """The error with the places of the texts in the request."""
        return Invalid(problems=[Problem(reason, places[row]) for row, reason in sorted(self.reasons.items())])
