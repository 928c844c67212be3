"""The usage of instances."""

from datetime import UTC, date, datetime, timedelta
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from service.api.llm_instances import retrieved
from service.errors import Invalid, Problem
from service.http.auth import Caller, instance_reader
from service.http.endpoint import endpoint
from service.http.paging import Page
from service.http.request import Req
from service.queries import usage
from service.queries.usage import Used

USUAL_DAYS = 30
MOST_DAYS = 3660
By = Literal["day", "user"]
BY_DAY: By = "day"


class UsagePage(Page, frozen=True, rename={"first": "from", "last": "to"}):
    """Selects days in UTC, both inclusive; the last 30 by default.

    `by`: a row per `day`, per `user`, or with `day,user` per day and user.
    """

    first: date | None = None
    last: date | None = None
    by: Annotated[list[By], Meta(min_length=1, max_length=2, extra_json_schema={"default": [BY_DAY]})] = msgspec.field(
        default_factory=lambda: [BY_DAY]
    )


class InstanceUsage(msgspec.Struct, frozen=True, omit_defaults=True, rename={"first": "from", "last": "to"}):
    """The usage of an instance; `next` is the URL of the next page."""

    owner: str
    instance_handle: str
    first: date
    last: date
    usage: list[Used]
    next: str | None = None


@endpoint("GET", "/v1/llm-instances/{user}/{instance}/usage", guard=instance_reader)
async def get_usage(req: Req, user: str, instance: str, query: UsagePage, access: Caller) -> InstanceUsage:
    """The usage of an instance: all for its owner; for others that of themselves and their projects."""
    last = query.last or datetime.now(UTC).date()
    first = query.first or last - min(timedelta(days=USUAL_DAYS - 1), last - date.min)
    if not timedelta() <= last - first <= timedelta(days=MOST_DAYS):
        message = f"must not be after `to`, or more than {MOST_DAYS:,} days before it"
        raise Invalid(problems=[Problem(message, "query.from", first.isoformat())])
    stored = await retrieved(req.pool, user, instance, access.role)
    page = await query.read(
        req,
        usage.get_usage,
        instance_id=stored.instance_id,
        by_day="day" in query.by,
        by_user="user" in query.by,
        first_day=first,
        last_day=last,
        user_handle=None if access.role in ("owner", "admin") else access.handle,
    )
    return InstanceUsage(user, instance, first, last, *page)
