"""Field types shared by several resources, with the limits of the contract."""

from datetime import UTC, datetime
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from service.decoding import SECRET
from service.errors import Invalid, Problem
from service.vectors import MAX_DIMENSIONS

# `$` alone would accept a newline at the end.
Handle = Annotated[
    str,
    Meta(
        min_length=3,
        max_length=64,
        pattern=r"^(?!(?:admin|public)$)[A-Za-z0-9][A-Za-z0-9._~-]*$(?!\n)",
        description="3 to 64 characters from A-Z a-z 0-9 . _ ~ -, the first a letter or digit; not admin or public.",
        examples=["alice"],
    ),
]

# The handle of an existing resource: older ones may contain other characters.
AnyHandle = Annotated[str, Meta(min_length=1, max_length=64, pattern=r"^[^\u0000]*$(?!\n)")]

# Limits of use: 0 permits nothing.
Tokens = Annotated[int, Meta(ge=0, le=10**15)]
RequestCount = Annotated[int, Meta(ge=0, le=10**6)]
Moment = Annotated[datetime, Meta(tz=True)]
FIRST_END, LAST_END = datetime(1970, 1, 1, tzinfo=UTC), datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC)

# PostgreSQL's text can store every character except NUL.
Text = Annotated[str, Meta(max_length=100_000, pattern=r"^[^\u0000]*$")]
ShortText = Annotated[str, Meta(max_length=1000, pattern=r"^[^\u0000]*$")]
Email = Annotated[
    str, Meta(max_length=320, pattern=r"^[^@\s\u0000]+@[^@\s\u0000]+$(?!\n)", examples=["alice@example.org"])
]
Dimensions = Annotated[int, Meta(ge=1, le=MAX_DIMENSIONS, description="The number of components of a vector.")]
ContextLimit = Annotated[
    int, Meta(ge=1, le=2**31 - 1, description="The maximum number of tokens of the model's input.")
]
ApiKey = Annotated[str, Meta(max_length=10_000, pattern=r"^[^\u0000]*$", description="Write-only."), SECRET]
# Stored JSON, as text from PostgreSQL.
Document = Annotated[msgspec.Raw, Meta(extra_json_schema={"type": "object"})]
ShareRole = Literal["reader", "editor"]


def check_end(moment: datetime | None) -> None:
    """Raises Invalid for an `expires_at` that cannot be stored.

    asyncpg stores the first and the last `datetime` as infinity, which has no form in JSON, and cannot store one that
    is out of range in UTC.
    """
    if moment is not None and not FIRST_END <= moment <= LAST_END:
        message = f"must be from {FIRST_END:%Y-%m-%d} to {LAST_END:%Y-%m-%dT%H:%M:%S} in UTC"
        raise Invalid(problems=[Problem(message, "body.expires_at", moment.isoformat())])
