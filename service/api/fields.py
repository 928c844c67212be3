"""Types of fields that several resources share, with the limits that the contract sets for them."""

from datetime import datetime
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from service.decoding import SECRET
from service.vectors import MAX_DIMENSIONS

# `$` alone would let a newline at the end pass.
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

# A handle that names something existing: older ones may hold other characters.
AnyHandle = Annotated[str, Meta(min_length=1, max_length=64, pattern=r"^[^\u0000]*$(?!\n)")]

# Limits of what is spent: 0 allows nothing.
Tokens = Annotated[int, Meta(ge=0, le=10**15)]
RequestCount = Annotated[int, Meta(ge=0, le=10**6)]
Moment = Annotated[datetime, Meta(tz=True)]

# PostgreSQL's text takes every character but NUL.
Text = Annotated[str, Meta(max_length=100_000, pattern=r"^[^\u0000]*$")]
ShortText = Annotated[str, Meta(max_length=1000, pattern=r"^[^\u0000]*$")]
Email = Annotated[
    str, Meta(max_length=320, pattern=r"^[^@\s\u0000]+@[^@\s\u0000]+$(?!\n)", examples=["alice@example.org"])
]
Dimensions = Annotated[int, Meta(ge=1, le=MAX_DIMENSIONS, description="The count of numbers in a vector.")]
ContextLimit = Annotated[int, Meta(ge=1, le=2**31 - 1, description="The most tokens that the model reads.")]
ApiKey = Annotated[str, Meta(max_length=10_000, pattern=r"^[^\u0000]*$", description="Write-only."), SECRET]
# Stored JSON, as the text that PostgreSQL gives.
Document = Annotated[msgspec.Raw, Meta(extra_json_schema={"type": "object"})]
ShareRole = Literal["reader", "editor"]
