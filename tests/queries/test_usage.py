"""Statements of sql/usage.sql on real rows; tests/providers/test_budgets.py has them at work."""

from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest

from service.database.pool import Connection
from service.queries import usage
from service.queries.usage import Reservation, Used
from tests.support import factories

FREE = Reservation(None, None, None, None, None, None, None, None)


async def made(connection: Connection, **limits: Any) -> tuple[str, int]:
    owner = await factories.user(connection)
    return owner, await factories.instance(connection, owner, "inst", **limits)


async def reserve(connection: Connection, instance_id: int, holder: str, tokens: int = 10) -> Reservation:
    await usage.lock_usage(connection, instance_id=instance_id)
    return await usage.reserve_usage(connection, instance_id=instance_id, holder=holder, tokens=tokens, seconds=60)


async def settle(
    connection: Connection,
    instance_id: int,
    holder: str,
    reservation_id: int | None = None,
    caller: str | None = None,
    **spent: int,
) -> None:
    counts = {"requests": 1, "texts": 1, "tokens": 10, "estimated_tokens": 0, "failures": 0, **spent}
    await usage.settle_usage(
        connection,
        reservation_id=reservation_id,
        instance_id=instance_id,
        holder=holder,
        caller=caller or holder,
        **counts,
    )


class TestLockUsage:
    async def test_of_none_there_is_none(self, connection: Connection) -> None:
        await usage.lock_usage(connection, instance_id=-1)


class TestReserveUsage:
    async def test_within_the_limits(self, connection: Connection) -> None:
        owner, number = await made(connection, tokens_per_day=25)
        first, second, third = [await reserve(connection, number, owner) for _ in range(3)]
        assert first.reservation_id is not None
        assert second.reservation_id is not None
        assert third.reservation_id is None
        assert (third.name, third.limit_of, third.allowed, third.spent, third.reserved, third.is_never) == (
            "tokens_per_day", None, 25, 0, 20, False,
        )  # fmt: skip
        assert third.again_in is not None
        assert 0 < third.again_in <= 86_400
        await settle(connection, number, owner, first.reservation_id, tokens=3)
        assert (await reserve(connection, number, owner)).reservation_id is not None

    async def test_without_limits(self, connection: Connection) -> None:
        owner, number = await made(connection)
        assert (await reserve(connection, number, owner, 10**12)).reservation_id is not None

    @pytest.mark.parametrize(
        ("limits", "name", "is_never"),
        [
            ({"tokens_per_day": 9}, "tokens_per_day", True),
            ({"tokens_per_month": 0}, "tokens_per_month", True),
            ({"tokens_per_day": 9, "tokens_per_month": 9}, "tokens_per_month", True),
            ({"requests_per_minute": 0}, "requests_per_minute", True),
            ({"expires_at": datetime(2020, 1, 1, tzinfo=UTC)}, "expires_at", True),
        ],
    )
    async def test_the_limit_that_is_reached(
        self, connection: Connection, limits: dict[str, Any], name: str, is_never: bool
    ) -> None:
        owner, number = await made(connection, **limits)
        found = await reserve(connection, number, owner)
        assert (found.reservation_id, found.name, found.is_never) == (None, name, is_never)
        assert (found.again_in is None) == (name == "expires_at")

    async def test_a_share_that_has_ended(self, connection: Connection) -> None:
        _, number = await made(connection, tokens_per_day=25)
        found = await reserve(connection, number, "nobody")
        assert (found.reservation_id, found.limit_of, found.again_in) == (None, "nobody", None)

    async def test_months_are_those_of_the_calendar(self, connection: Connection) -> None:
        owner, number = await made(connection, tokens_per_month=100)
        today = datetime.now(UTC).date()
        for day, tokens in ((today, 40), (today.replace(day=1), 30), (today.replace(day=1) - timedelta(days=1), 90)):
            await settle(connection, number, owner, tokens=0)
            await connection.execute(
                "INSERT INTO instance_usage VALUES ($1, $2, $3, $4, 1, 1, $5, 0, 0)",
                number,
                day,
                owner,
                f"other{tokens}",
                tokens,
            )
        assert (await reserve(connection, number, owner, 31)).spent == 70
        assert (await reserve(connection, number, owner, 30)).reservation_id is not None


class TestRenewUsage:
    async def test_it_lasts_longer(self, connection: Connection) -> None:
        owner, number = await made(connection, tokens_per_day=25)
        reservation_id = (await reserve(connection, number, owner)).reservation_id or 0
        assert await usage.renew_usage(connection, reservation_id=reservation_id, seconds=600) == 1
        left = "SELECT expires_at - statement_timestamp() FROM usage_reservations WHERE reservation_id = $1"
        assert timedelta(seconds=500) < await connection.fetchval(left, reservation_id) <= timedelta(seconds=600)

    async def test_not_after_its_end(self, connection: Connection) -> None:
        owner, number = await made(connection, tokens_per_day=25)
        reservation_id = (await reserve(connection, number, owner)).reservation_id or 0
        await settle(connection, number, owner, reservation_id)
        assert await usage.renew_usage(connection, reservation_id=reservation_id, seconds=600) == 0
        assert await usage.renew_usage(connection, reservation_id=-1, seconds=600) == 0


class TestSettleUsage:
    async def test_once_for_a_reservation(self, connection: Connection) -> None:
        owner, number = await made(connection, tokens_per_day=25)
        reservation_id = (await reserve(connection, number, owner)).reservation_id
        for _ in range(2):  # the result of the first was lost
            await settle(connection, number, owner, reservation_id, tokens=3)
        assert (await reserve(connection, number, owner, 30)).spent == 3

    async def test_adds_up(self, connection: Connection) -> None:
        owner, number = await made(connection)
        await settle(connection, number, owner, tokens=3, estimated_tokens=1)
        await settle(connection, number, owner, tokens=4, failures=2)
        row = await connection.fetchrow("SELECT * FROM instance_usage WHERE instance_id = $1", number)
        assert tuple(row)[2:] == (owner, owner, 2, 2, 7, 1, 2)

    async def test_of_a_deleted_instance_nothing_is_kept(self, connection: Connection) -> None:
        await settle(connection, -1, "nobody")
        assert await connection.fetchval("SELECT count(*) FROM instance_usage WHERE instance_id = -1") == 0

    async def test_of_a_user_deleted_meanwhile_the_handle_is_not_kept(self, connection: Connection) -> None:
        owner, number = await made(connection)
        await settle(connection, number, "nobody")
        for caller in ("admin", "public", owner):
            await settle(connection, number, owner, caller=caller)
        rows = await connection.fetch("SELECT holder, caller FROM instance_usage WHERE instance_id = $1", number)
        assert {tuple(row) for row in rows} == {
            ("_deleted", "_deleted"), (owner, "admin"), (owner, "public"), (owner, owner),
        }  # fmt: skip

    async def test_without_a_call_only_the_reservation_ends(self, connection: Connection) -> None:
        owner, number = await made(connection, tokens_per_day=10)
        reservation_id = (await reserve(connection, number, owner)).reservation_id
        await settle(connection, number, owner, reservation_id, requests=0, texts=0, tokens=0)
        assert await connection.fetchval("SELECT count(*) FROM instance_usage WHERE instance_id = $1", number) == 0
        assert (await reserve(connection, number, owner)).reservation_id is not None


class TestGetUsage:
    async def test_by_day_and_by_user(self, connection: Connection) -> None:
        owner, number = await made(connection)
        for day, caller, holder in ((1, owner, owner), (1, "bert", "bert"), (2, "carl", "bert")):
            await connection.execute(
                "INSERT INTO instance_usage VALUES ($1, $2, $3, $4, 1, 2, 3, 1, 0)",
                number,
                date(2026, 1, day),
                holder,
                caller,
            )

        async def found(user: str | None = None, max_rows: int = 9, skip: int = 0, **changes: Any) -> list[Used]:
            asked = {
                "by_day": False,
                "by_user": True,
                "first_day": date(2026, 1, 1),
                "last_day": date(2026, 1, 2),
                **changes,
            }
            return await usage.get_usage(
                connection, instance_id=number, user_handle=user, max_rows=max_rows, skip=skip, **asked
            )

        days = await found(by_day=True, by_user=False)
        assert [(one.day, one.user_handle, one.requests, one.tokens) for one in days] == [
            (date(2026, 1, 1), None, 2, 6), (date(2026, 1, 2), None, 1, 3),
        ]  # fmt: skip
        both = [(one.day, one.user_handle, one.requests) for one in await found(by_day=True)]
        assert both == [(date(2026, 1, day), name, 1) for day, name in ((1, "bert"), (1, owner), (2, "carl"))]
        assert {one.user_handle for one in await found()} == {owner, "bert", "carl"}
        assert {one.user_handle for one in await found("bert")} == {"bert", "carl"}
        assert {one.user_handle for one in await found("carl")} == {"carl"}
        assert [one.user_handle for one in await found(last_day=date(2026, 1, 1), max_rows=1, skip=1)] != ["carl"]


class TestForgetUserInUsage:
    async def test_the_ledger_keeps_the_sums_without_the_handle(self, connection: Connection) -> None:
        owner, number = await made(connection)
        for holder, caller in (("bert", "bert"), ("bert", "carl"), ("carl", "bert"), ("carl", "carl"), (owner, "carl")):
            await connection.execute(
                "INSERT INTO instance_usage VALUES ($1, '2026-01-01', $2, $3, 1, 2, 3, 4, 5)", number, holder, caller
            )
        await usage.forget_user_in_usage(connection, user_handle="bert")
        await usage.forget_user_in_usage(connection, user_handle="carl")
        rows = await connection.fetch("SELECT * FROM instance_usage WHERE instance_id = $1 ORDER BY requests", number)
        assert [tuple(row)[2:] for row in rows] == [
            (owner, "_deleted", 1, 2, 3, 4, 5),
            ("_deleted", "_deleted", 4, 8, 12, 16, 20),
        ]

    async def test_others_stay(self, connection: Connection) -> None:
        owner, number = await made(connection)
        await settle(connection, number, owner)
        await usage.forget_user_in_usage(connection, user_handle="nobody")
        assert await connection.fetchval("SELECT holder FROM instance_usage WHERE instance_id = $1", number) == owner
