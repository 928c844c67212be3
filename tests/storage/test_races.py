"""Two requests that change the same thing at once, held in the middle by a lock of a third connection.

Whatever order they come to, what is stored fits together, nobody is told of a fault, and nobody has to try again.
"""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import httpx2
import pytest

from service.queries import llm_definitions, llm_instances
from service.queries.admin import lock_all
from tests.support.world import (
    Headers,
    Instance,
    Project,
    User,
    fetch,
    instance,
    problem,
    project,
    row,
    unique,
    upload,
    user,
)

pytestmark = pytest.mark.slow

Answer = asyncio.Future[httpx2.Response]


class Holder:
    """A connection in a transaction that holds locks, and one that sees who waits."""

    def __init__(self, held: asyncpg.Connection, watch: asyncpg.Connection) -> None:
        self.held, self._watch = held, watch
        self._transaction = held.transaction()

    async def start(self) -> None:
        await self._transaction.start()

    async def lock(self, statement: str, *arguments: Any) -> None:
        await self.held.execute(statement, *arguments)

    async def lock_user(self, one: User) -> None:
        await self.lock("SELECT FROM users WHERE user_handle = $1 FOR UPDATE", one.handle)

    async def waiting(self) -> int:
        waiting: int = await self._watch.fetchval(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
            " AND application_name !~ 'indexer'"  # which has its own reasons
        )
        return waiting

    async def begin(self, request: Any) -> Any:
        """Sends a request, and goes on when it, too, waits for a lock, or is answered."""
        before = await self.waiting()
        answer = asyncio.ensure_future(request)
        while not answer.done() and await self.waiting() <= before:
            await asyncio.sleep(0.01)
        return answer

    async def release(self, *answers: Answer) -> list[httpx2.Response]:
        await self._transaction.commit()
        return await asyncio.gather(*answers)


@pytest.fixture
async def holder(service_database: str) -> AsyncIterator[Holder]:
    held, watch = await asyncpg.connect(service_database), await asyncpg.connect(service_database)
    one = Holder(held, watch)
    await one.start()
    yield one
    await held.close()
    await watch.close()


@pytest.fixture
async def people(api: httpx2.AsyncClient, admin: Headers) -> list[User]:
    return [await user(api, admin) for _ in range(3)]


async def share(api: httpx2.AsyncClient, what: Instance | Project, to: User, role: str = "reader") -> httpx2.Response:
    body = {"share_with_handle": to.handle, "role": role}
    return await api.post(f"{what.path}/share", json=body, headers=what.owner.headers)


async def put(api: httpx2.AsyncClient, what: Project, on: Instance, **fields: Any) -> httpx2.Response:
    body = {"project_handle": what.handle, "instance_handle": on.handle, "instance_owner": on.owner.handle, **fields}
    return await api.put(what.path, json=body, headers=what.owner.headers)


async def patch(api: httpx2.AsyncClient, what: Instance | Project, **fields: Any) -> httpx2.Response:
    return await api.patch(what.path, json=fields, headers=what.owner.headers)


async def change(api: httpx2.AsyncClient, how: str, what: Instance, dimensions: int) -> httpx2.Response:
    if how == "patch":
        return await patch(api, what, dimensions=dimensions)
    body = {"instance_handle": what.handle, "dimensions": dimensions}
    if how == "put":
        return await api.put(what.path, json=body, headers=what.owner.headers)
    body |= {"definition_owner": "_system", "definition_handle": "openai-small"}
    path = f"/v1/llm-instances/{what.owner.handle}/from-definition"
    return await api.post(path, json=body, headers=what.owner.headers)


class TestDimensions:
    """The vectors of a project are of the dimensions of its instance."""

    @pytest.mark.parametrize("how", ["patch", "put", "from a definition"])
    async def test_of_an_instance_that_gets_a_project(
        self, api: httpx2.AsyncClient, people: list[User], holder: Holder, how: str
    ) -> None:
        alice, bob, _ = people
        other = await instance(api, alice)
        mine = await project(api, alice)
        await upload(api, mine, row("a", [1, 2, 3]))
        await holder.lock_user(bob)  # with whom the project is shared in the end
        moved = await holder.begin(put(api, mine, other, shared_with=[bob.handle]))
        changed = await holder.begin(change(api, how, other, 4))
        assert [answer.status_code for answer in await holder.release(moved, changed)] == [201, 409]
        await upload(api, mine, row("b", [3, 2, 1]))

    @pytest.mark.parametrize("how", ["patch", "put", "from a definition"])
    @pytest.mark.parametrize("by", ["put", "patch"])
    async def test_of_a_project_that_gets_an_instance(
        self, api: httpx2.AsyncClient, people: list[User], holder: Holder, how: str, by: str
    ) -> None:
        alice, *_ = people
        other = await instance(api, alice)
        empty, mine = await project(api, alice, on=other), await project(api, alice)
        await upload(api, mine, row("a", [1, 2, 3]))
        await holder.lock(f"LOCK TABLE embeddings_{empty.id} IN ROW EXCLUSIVE MODE")  # an upload that goes on
        changed = await holder.begin(change(api, how, other, 4))
        moved = await holder.begin(
            put(api, mine, other)
            if by == "put"
            else patch(api, mine, instance_owner=alice.handle, instance_handle=other.handle)
        )
        statuses = [answer.status_code for answer in await holder.release(changed, moved)]
        assert statuses == [200 if how != "put" else 201, 409]
        await upload(api, mine, row("b", [3, 2, 1]))
        await upload(api, empty, row("b", [3, 2, 1, 0]))

    async def test_of_the_instance_that_a_project_leaves(
        self, api: httpx2.AsyncClient, people: list[User], holder: Holder
    ) -> None:
        alice, bob, _ = people
        old, new = await instance(api, alice), await instance(api, alice, dimensions=2)
        mine = await project(api, alice, on=old)
        await holder.lock_user(bob)
        moved = await holder.begin(put(api, mine, new, shared_with=[bob.handle]))
        changed = await holder.begin(patch(api, old, dimensions=4))
        assert [answer.status_code for answer in await holder.release(moved, changed)] == [201, 200]
        await upload(api, mine, row("a", [1, 2]))


class TestOneRole:
    """Nobody owns a project and has been given it too."""

    @pytest.fixture
    async def given(self, api: httpx2.AsyncClient, people: list[User]) -> Project:
        """A project of the first, who may hand it over to the second."""
        mine = await project(api, people[0])
        assert (await share(api, mine.instance, people[1])).status_code == 201
        return mine

    async def transfer(self, api: httpx2.AsyncClient, what: Project, to: User) -> httpx2.Response:
        return await api.post(f"{what.path}/transfer", json={"new_owner": to.handle}, headers=what.owner.headers)

    @pytest.mark.parametrize("first", ["share", "transfer"])
    @pytest.mark.parametrize("by", ["share", "put", "patch"])
    async def test_of_a_project_that_is_shared_with_its_next_owner(
        self, api: httpx2.AsyncClient, people: list[User], given: Project, holder: Holder, first: str, by: str
    ) -> None:
        _, bob, _ = people

        def shared() -> Any:
            if by == "share":
                return share(api, given, bob)
            shares = {"shared_with": [{"user_handle": bob.handle, "role": "reader"}]}
            return put(api, given, given.instance, **shares) if by == "put" else patch(api, given, **shares)

        await holder.lock_user(bob)
        if first == "share":
            one = await holder.begin(shared())
            two = await holder.begin(self.transfer(api, given, bob))
            shares, moved = await holder.release(one, two)
            assert shares.status_code == (200 if by == "patch" else 201)
        else:
            two = await holder.begin(self.transfer(api, given, bob))
            one = await holder.begin(shared())
            shares, moved = await holder.release(one, two)
            assert shares.status_code == (201 if by == "put" else 404), shares.text  # a PUT makes another one
        assert moved.status_code == 200
        about = await fetch(api, f"/v1/projects/{bob.handle}/{given.handle}", bob.headers)
        assert (about["project_id"], about["role"], about["shared_with"]) == (given.id, "owner", [])
        listed = (await fetch(api, f"/v1/projects/{bob.handle}", bob.headers))["projects"]
        assert [one["project_id"] for one in listed].count(given.id) == 1

    async def test_the_shares_are_those_of_the_last_put(
        self, api: httpx2.AsyncClient, people: list[User], given: Project, holder: Holder
    ) -> None:
        alice, bob, carl = people
        await holder.lock_user(bob)
        one = await holder.begin(put(api, given, given.instance, shared_with=[bob.handle]))
        two = await holder.begin(put(api, given, given.instance, shared_with=[carl.handle]))
        assert [answer.status_code for answer in await holder.release(one, two)] == [201, 201]
        shares = (await fetch(api, given.path, alice.headers))["shared_with"]
        assert [one["user_handle"] for one in shares] == [carl.handle]


class TestWhatIsBeingDeleted:
    """Whoever wants to use a thing that is being deleted is told that it is not there."""

    async def test_a_definition(self, api: httpx2.AsyncClient, people: list[User], holder: Holder) -> None:
        alice, bob, _ = people
        path, handle = f"/v1/llm-definitions/{alice.handle}", unique("d")
        body = {"definition_handle": handle, "api_standard": "openai", "dimensions": 3, "is_public": True}
        assert (await api.post(path, json=body, headers=alice.headers)).status_code == 201
        await llm_definitions.delete_llm_definition(holder.held, owner=alice.handle, definition_handle=handle)
        from_it = {"instance_handle": "mine", "definition_owner": alice.handle, "definition_handle": handle}
        used = await holder.begin(
            api.post(f"/v1/llm-instances/{bob.handle}/from-definition", json=from_it, headers=bob.headers)
        )
        with_bob = {"share_with_handle": bob.handle}
        shared = await holder.begin(api.post(f"{path}/{handle}/share", json=with_bob, headers=alice.headers))
        for answer in await holder.release(used, shared):
            problem(answer, 404)

    async def test_an_instance(self, api: httpx2.AsyncClient, people: list[User], holder: Holder) -> None:
        alice, bob, _ = people
        old, mine = await instance(api, alice), await project(api, alice)
        await llm_instances.delete_llm_instance(holder.held, owner=alice.handle, instance_handle=old.handle)
        shared = await holder.begin(share(api, old, bob))
        used = await holder.begin(put(api, mine, old))
        for answer in await holder.release(shared, used):
            problem(answer, 404)

    async def test_a_project(self, api: httpx2.AsyncClient, people: list[User], holder: Holder) -> None:
        alice, bob, _ = people
        mine = await project(api, alice)
        await holder.lock(f"LOCK TABLE embeddings_{mine.id} IN ACCESS SHARE MODE")  # a search that goes on
        deleted = await holder.begin(api.delete(mine.path, headers=alice.headers))
        shared = await holder.begin(share(api, mine, bob))
        gone, answer = await holder.release(deleted, shared)
        assert gone.status_code == 204
        problem(answer, 404)

    @pytest.mark.parametrize("how", ["patch", "put", "from a definition"])
    async def test_an_instance_does_not_miss_the_project_that_it_would_fit(
        self, api: httpx2.AsyncClient, people: list[User], holder: Holder, how: str
    ) -> None:
        alice, bob, _ = people
        hers = await instance(api, alice)
        assert (await share(api, hers, bob)).status_code == 201
        his = Project(bob, unique("p"), 0, hers)
        number = (await put(api, his, hers)).json()["project_id"]
        await holder.lock(f"LOCK TABLE embeddings_{number} IN ACCESS SHARE MODE")
        deleted = await holder.begin(api.delete(his.path, headers=bob.headers))
        changed = await holder.begin(change(api, how, hers, 4))
        gone, answer = await holder.release(deleted, changed)
        assert (gone.status_code, answer.status_code) == (204, 201 if how == "put" else 200), answer.text

    async def test_a_standard_stays_when_it_is_used(
        self, api: httpx2.AsyncClient, admin: Headers, people: list[User], holder: Holder
    ) -> None:
        alice, *_ = people
        used, handle = await instance(api, alice), unique("s")
        standard = {"api_standard_handle": handle, "description": "d", "key_method": "query_param", "key_field": "k"}
        assert (await api.post("/v1/api-standards", json=standard, headers=admin)).status_code == 201
        await holder.lock(
            "UPDATE llm_service_instances SET api_standard = $2 WHERE instance_id = $1", used.id, handle
        )  # as a PUT of the instance that is not done
        deleted = await holder.begin(api.delete(f"/v1/api-standards/{handle}", headers=admin))
        (answer,) = await holder.release(deleted)
        problem(answer, 409)


class TestNoDeadlock:
    """Who waits for whom goes one way, so that nobody is told to try again."""

    async def test_of_two_who_change_a_user(
        self, api: httpx2.AsyncClient, admin: Headers, people: list[User], holder: Holder
    ) -> None:
        alice, *_ = people
        await holder.lock("SELECT pg_advisory_xact_lock(hashtextextended($1, 0))", alice.handle)
        body = {"user_handle": alice.handle, "email": alice.email, "name": "put"}
        one = await holder.begin(api.put(alice.path, json=body, headers=admin))
        two = await holder.begin(api.patch(alice.path, json={"name": "patch"}, headers=admin))
        assert [answer.status_code for answer in await holder.release(one, two)] == [201, 200]
        assert (await fetch(api, alice.path, admin))["name"] == "patch"

    async def test_of_a_reset_and_two_who_change_what_is_a_users(
        self, api: httpx2.AsyncClient, admin: Headers, people: list[User], holder: Holder, service_database: str
    ) -> None:
        alice, *_ = people
        mine = await project(api, alice)
        resetting = await asyncpg.connect(service_database)

        async def reset() -> None:  # but for what it deletes: the other tests' things
            async with resetting.transaction():
                await lock_all(resetting)

        await holder.lock("SELECT pg_advisory_xact_lock(hashtextextended($1, 0))", alice.handle)
        body = {"user_handle": alice.handle, "email": alice.email}
        one = await holder.begin(put(api, mine, mine.instance))
        two = await holder.begin(api.put(alice.path, json=body, headers=admin))
        three = await holder.begin(reset())
        assert [answer.status_code for answer in await holder.release(one, two)] == [201, 201]
        await three
        await resetting.close()

    async def test_of_two_users_who_are_deleted(
        self, api: httpx2.AsyncClient, admin: Headers, people: list[User], holder: Holder
    ) -> None:
        alice, bob, carl = people
        for owner, other in ((alice, bob), (bob, alice)):
            mine = await project(api, owner)
            assert (await share(api, mine, other)).status_code == 201
            assert (await share(api, mine.instance, carl)).status_code == 201
        # These rows go between the shares that somebody has been given and those of their own projects.
        await holder.lock(
            "SELECT FROM llm_service_instances_shared_with WHERE user_handle = $1 FOR UPDATE", carl.handle
        )
        one = await holder.begin(api.delete(alice.path, headers=admin))
        two = await holder.begin(api.delete(bob.path, headers=admin))
        assert [answer.status_code for answer in await holder.release(one, two)] == [204, 204]

    @pytest.mark.parametrize("how", ["delete", "put"])
    async def test_of_a_user_and_anothers_project_on_their_instance(
        self, api: httpx2.AsyncClient, admin: Headers, people: list[User], holder: Holder, how: str
    ) -> None:
        alice, bob, carl = people
        hers = await instance(api, alice)
        assert (await share(api, hers, bob)).status_code == 201
        handle = unique("p")
        his = Project(bob, handle, 0, hers)
        made = await put(api, his, hers, shared_with=[alice.handle])
        assert made.status_code == 201
        if how == "delete":
            await holder.lock(f"LOCK TABLE embeddings_{made.json()['project_id']} IN ACCESS SHARE MODE")
            changed = await holder.begin(api.delete(his.path, headers=bob.headers))
        else:
            await holder.lock_user(carl)
            changed = await holder.begin(put(api, his, hers, shared_with=[carl.handle]))
        deleted = await holder.begin(api.delete(alice.path, headers=admin))
        answers = [answer.status_code for answer in await holder.release(changed, deleted)]
        assert answers == ([204, 204] if how == "delete" else [201, 409])

    async def test_a_project_that_is_emptied_while_it_is_deleted(
        self, api: httpx2.AsyncClient, people: list[User], holder: Holder
    ) -> None:
        mine = await project(api, people[0])
        await upload(api, mine, row("a", [1, 2, 3]))
        await api.get(f"{mine.path}/map", headers=mine.owner.headers)
        # The deletion has locked the count then, but not the table.
        await holder.lock("SELECT FROM project_maps WHERE project_id = $1 FOR UPDATE", mine.id)
        deleted = await holder.begin(api.delete(mine.path, headers=mine.owner.headers))
        emptied = await holder.begin(api.delete(mine.embeddings, headers=mine.owner.headers))
        assert [answer.status_code for answer in await holder.release(deleted, emptied)] == [204, 404]
