"""Isolation by property: for random users, shares and projects, nothing of one thing is ever in an answer to
somebody without access to it. What the service answers is compared with a model in plain Python.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path

import httpx2
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.conftest import ADMIN_KEY, ENCRYPTION_KEY
from tests.support.processes import served

pytestmark = pytest.mark.slow

USERS, PROJECTS = 4, 4
_runs = count(1)

user = st.integers(0, USERS - 1)
project = st.integers(0, PROJECTS - 1)
role = st.sampled_from(["reader", "editor"])
action = st.one_of(
    st.tuples(st.just("share"), project, user, role),
    st.tuples(st.just("unshare"), project, user),
    st.tuples(st.just("publish"), project, st.booleans()),
    st.tuples(st.just("share_instance"), user, user, role),
    st.tuples(st.just("unshare_instance"), user, user),
    st.tuples(st.just("replace"), project, st.lists(user, max_size=3, unique=True), st.booleans()),
    st.tuples(st.just("delete"), project),
)


@dataclass
class Thing:
    """A project or an instance: its owner, whom it is shared with, and the mark that is on all it holds."""

    owner: int
    mark: str
    shared: dict[int, str] = field(default_factory=dict)
    public: bool = False
    exists: bool = True

    def readers(self) -> set[int]:
        """The users who have been given it, and the owner."""
        return {self.owner, *self.shared} if self.exists else set()


class World:
    """The model, and the service that it is compared with. Every user has one instance."""

    def __init__(self, client: httpx2.Client) -> None:
        self.client = client
        run = next(_runs)
        admin = {"Authorization": f"Bearer {ADMIN_KEY}"}
        self.handles = [f"run{run}-user{number}" for number in range(USERS)]
        self.headers: list[dict[str, str]] = []
        for handle in self.handles:
            body = {"user_handle": handle, "email": f"{handle}@example.org"}
            key = client.put(f"/v1/users/{handle}", json=body, headers=admin).json()["vdb_key"]
            self.headers.append({"Authorization": f"Bearer {key}"})
        self.instances = [Thing(number, f"mark-instance-{run}-{number}-end") for number in range(USERS)]
        for instance in self.instances:
            body = {"instance_handle": instance.mark, "dimensions": 3, "description": instance.mark}
            self.ok("POST", f"/v1/llm-instances/{self.handles[instance.owner]}", instance.owner, body)
        self.projects = [Thing(number % USERS, f"mark-project-{run}-{number}-end") for number in range(PROJECTS)]
        for one in self.projects:
            self.put(one, shared_with=[])
            row = {"vector": [1, 2, 3], "text": one.mark, "metadata": {one.mark: one.mark}}
            rows = [{**row, "text_id": f"{one.mark}-{letter}"} for letter in "ab"]
            self.ok("POST", self.path(one, "embeddings"), one.owner, {"embeddings": rows})

    def path(self, one: Thing, kind: str) -> str:
        return f"/v1/{kind}/{self.handles[one.owner]}/{one.mark}"

    def ok(self, method: str, path: str, caller: int, body: object = None) -> httpx2.Response:
        answer = self.client.request(method, path, json=body, headers=self.headers[caller])
        assert answer.status_code < 300, answer.text
        return answer

    def put(self, one: Thing, shared_with: list[str]) -> None:
        body = {
            "project_handle": one.mark,
            "instance_handle": self.instances[one.owner].mark,
            "description": one.mark,
            "public_read": one.public,
            "shared_with": shared_with,
        }
        self.ok("PUT", self.path(one, "projects"), one.owner, body)

    # What can happen, in the model and in the service.

    def share(self, number: int, other: int, role: str) -> None:
        self._share(self.projects[number], "projects", other, role)

    def unshare(self, number: int, other: int) -> None:
        self._unshare(self.projects[number], "projects", other)

    def share_instance(self, number: int, other: int, role: str) -> None:
        self._share(self.instances[number], "llm-instances", other, role)

    def unshare_instance(self, number: int, other: int) -> None:
        self._unshare(self.instances[number], "llm-instances", other)

    def publish(self, number: int, public: bool) -> None:
        one = self.projects[number]
        if one.exists:
            self.ok("PATCH", self.path(one, "projects"), one.owner, {"public_read": public})
            one.public = public

    def replace(self, number: int, readers: list[int], public: bool) -> None:
        one = self.projects[number]
        if one.exists:
            one.public = public
            one.shared = {reader: "reader" for reader in readers if reader != one.owner}
            self.put(one, shared_with=[self.handles[reader] for reader in one.shared])

    def delete(self, number: int) -> None:
        one = self.projects[number]
        if one.exists:
            self.ok("DELETE", self.path(one, "projects"), one.owner)
            one.exists = False

    def _share(self, one: Thing, kind: str, other: int, role: str) -> None:
        if one.exists and other != one.owner:
            body = {"share_with_handle": self.handles[other], "role": role}
            self.ok("POST", f"{self.path(one, kind)}/share", one.owner, body)
            one.shared[other] = role

    def _unshare(self, one: Thing, kind: str, other: int) -> None:
        if one.exists and other in one.shared:
            self.ok("DELETE", f"{self.path(one, kind)}/share/{self.handles[other]}", one.owner)
            del one.shared[other]

    # What is compared.

    def check(self) -> None:
        """Asks everything as everybody, and as nobody."""
        for caller in [*range(USERS), None]:
            lists = self.lists(caller)
            for one in self.projects:
                self.check_project(one, caller, lists)
            for one in self.instances:
                may = caller in one.readers()
                answer = self.get(self.path(one, "llm-instances"), caller)
                assert (answer.status_code == 200) is may
                assert (one.mark in answer.text) is may
                assert (one.mark in lists["instances"]) is may

    def check_project(self, one: Thing, caller: int | None, lists: dict[str, str]) -> None:
        listed = caller in one.readers()
        may = listed or (one.exists and one.public)
        assert (one.mark in lists["projects"]) is listed
        text_id = f"{one.mark}-a"
        answers = [
            self.get(self.path(one, "projects"), caller),
            self.get(self.path(one, "embeddings"), caller),
            self.get(f"{self.path(one, 'embeddings')}/{text_id}", caller),
            self.get(f"{self.path(one, 'similars')}/{text_id}", caller),
            self.send("POST", self.path(one, "similars"), caller, {"vector": [1, 2, 3]}),
        ]
        if may:
            assert [answer.status_code for answer in answers] == [200] * 5
            assert all(one.mark in answer.text for answer in answers)
            seen = answers[0].json()
            assert seen["number_of_embeddings"] == 2
            roles = {**one.shared, one.owner: "owner"}
            assert seen["role"] == ("public" if caller is None else roles.get(caller, "public"))
            assert ("shared_with" in seen) is (caller == one.owner)
        else:
            refused = 401 if caller is None else 404 if caller == one.owner else 403
            assert {answer.status_code for answer in answers} == {refused}
            if caller != one.owner:  # whose own name for it may be told to them
                assert not any(one.mark in answer.text for answer in answers)
        # Searching one project never finds what is in another.
        for answer in answers:
            others = [other.mark for other in self.projects if other is not one]
            assert not any(mark in answer.text for mark in others)
        can_write = caller is not None and (caller == one.owner or one.shared.get(caller) == "editor") and one.exists
        same = {"embeddings": [{"text_id": text_id, "vector": [1, 2, 3]}]}
        written = self.send("POST", self.path(one, "embeddings"), caller, same)
        assert (written.status_code == 201) is can_write

    def lists(self, caller: int | None) -> dict[str, str]:
        if caller is None:
            return {"projects": "", "instances": ""}
        handle = self.handles[caller]
        about = self.get(f"/v1/users/{handle}", caller)
        projects, instances = (self.get(f"/v1/{kind}/{handle}", caller) for kind in ("projects", "llm-instances"))
        definitions = self.get(f"/v1/llm-definitions/{handle}", caller)
        assert {answer.status_code for answer in (about, projects, instances, definitions)} == {200}
        assert "mark-" not in definitions.text
        for kind, answer in (("projects", projects), ("instances", instances)):
            in_list = sorted(str(one.get("project_handle") or one["instance_handle"]) for one in answer.json()[kind])
            on_page = sorted(str(one.get("project_handle") or one["instance_handle"]) for one in about.json()[kind])
            assert in_list == on_page
        return {"projects": projects.text, "instances": instances.text}

    def get(self, path: str, caller: int | None) -> httpx2.Response:
        return self.send("GET", path, caller)

    def send(self, method: str, path: str, caller: int | None, body: object = None) -> httpx2.Response:
        headers = {} if caller is None else self.headers[caller]
        return self.client.request(method, path, json=body, headers=headers)


@pytest.fixture(scope="module")
def client(new_database: Callable[..., str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx2.Client]:
    folder: Path = tmp_path_factory.mktemp("isolation")
    secrets = {"SERVICE_ADMINKEY": ADMIN_KEY, "ENCRYPTION_KEY": ENCRYPTION_KEY}
    with (
        served(folder / "log", cwd=folder, SERVICE_DATABASE_URL=new_database(), **secrets) as (_, url),
        httpx2.Client(base_url=url, timeout=60) as client,
    ):
        yield client


@settings(max_examples=10)
@given(actions=st.lists(action, min_size=5, max_size=24))
def test_nothing_of_a_thing_reaches_those_without_access(client: httpx2.Client, actions: list[tuple[object]]) -> None:
    world = World(client)
    for name, *arguments in actions:
        getattr(world, str(name))(*arguments)
    world.check()
