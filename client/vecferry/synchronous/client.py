# Made from vecferry/asynchronous by generate_synchronous.py: change that, and run this.
"""The client itself, users and the list of projects.

Names of projects, instances and definitions are of the form `owner/name`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from types import TracebackType
from typing import Any

import httpx2

from vecferry.loop_thread import SyncTransport
from vecferry.names import given, owner_and_handle, path_of, path_to
from vecferry.structs import Part, ProjectInfo, Similars, TextSearch, User, UserKey, WhoAmI
from vecferry.synchronous.embeddings import Embeddings
from vecferry.synchronous.instances import Definitions, Instances
from vecferry.synchronous.lists import listed
from vecferry.synchronous.project import Project


class Client:
    """A client of one embedding service, with one key; without a key it reads public projects.

    `timeout`: seconds without a byte, after which a request has failed. `retries`: how often a request is repeated when
    the connection breaks or the service is busy. `http`: a client of httpx2, for proxies and certificates of its own;
    without one httpx2 finds them in the environment. Close it, or use it with `with`.
    """

    def __init__(
        self,
        url: str,
        key: str | None = None,
        *,
        timeout: float = 120.0,
        retries: int = 6,
        http: httpx2.AsyncClient | None = None,
    ) -> None:
        self._transport = SyncTransport(url, key, timeout=timeout, retries=retries, http=http)
        self.users = Users(self._transport)
        self.keys = Keys(self._transport)
        self.definitions = Definitions(self._transport)
        self.instances = Instances(self._transport)
        self.projects = Projects(self._transport)

    def project(self, owner: str, name: str | None = None) -> Project:
        """A project, as `"owner/name"` or `"owner", "name"`. Nothing is sent until it is used."""
        return Project(self._transport, owner if name is None else f"{owner}/{name}")

    def embeddings(self, project: str) -> Embeddings:
        """The embeddings of a project: the same as `project(…).embeddings`."""
        return self.project(project).embeddings

    def similar(
        self,
        project: str,
        *,
        vector: Any = None,
        id: str | None = None,  # noqa: A002
        text: str | None = None,
        limit: int = 10,
        threshold: float | None = None,
        filter: Mapping[str, Any] | None = None,  # noqa: A002
        include: Sequence[Part] = (),
        exact: bool = False,
        recall: float | None = None,
    ) -> Similars:
        """Similar texts in a project: the same as `project(…).similar(…)`."""
        return self.project(project).similar(
            vector=vector,
            id=id,
            text=text,
            limit=limit,
            threshold=threshold,
            filter=filter,
            include=include,
            exact=exact,
            recall=recall,
        )

    def whoami(self) -> WhoAmI:
        """The owner of the key. Raises Unauthorized for a missing or unknown key."""
        return self._transport.send("GET", path_of("whoami"), WhoAmI)

    def close(self) -> None:
        """Closes the connections."""
        self._transport.close()

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class Users:
    """Users; making and changing them is for the admin."""

    def __init__(self, transport: SyncTransport) -> None:
        self._transport = transport

    def list(self) -> Iterator[str]:
        """The handles of all users."""
        for page in self._transport.pages(path_of("users"), list[str]):
            for handle in page:
                yield handle

    def get(self, user: str) -> User:
        """A user with everything that they own, and that is shared with them."""
        return self._transport.send("GET", path_of("users", user), User)

    def put(self, user: str, *, email: str, name: str | None = None) -> UserKey:
        """Makes a user, whose key is shown only once, or changes one."""
        body = given(user_handle=user, email=email, name=name)
        # Not repeated: the answer that was lost had the key.
        return self._transport.send("PUT", path_of("users", user), UserKey, body=body, repeat=False)

    def patch(self, user: str, changes: Mapping[str, Any]) -> User:
        """Changes some properties (a JSON merge patch)."""
        return self._transport.send("PATCH", path_of("users", user), User, body=changes)

    def delete(self, user: str) -> None:
        """Deletes a user with everything that they own."""
        self._transport.send("DELETE", path_of("users", user), type(None))


class Keys:
    """The keys of users."""

    def __init__(self, transport: SyncTransport) -> None:
        self._transport = transport

    def exchange(self, user: str) -> UserKey:
        """A new key of a user; the old one stops working immediately, also for this client."""
        return self._transport.send("POST", path_of("users", user, "key"), UserKey, repeat=False)


class Projects:
    """The projects of users; one alone is `client.project("owner/name")`."""

    def __init__(self, transport: SyncTransport) -> None:
        self._transport = transport

    def list(self, user: str) -> Iterator[ProjectInfo]:
        """A user's own projects and those shared with the user."""
        return listed(self._transport, path_of("projects", user), "projects", ProjectInfo)

    def put(
        self,
        name: str,
        *,
        instance: str,
        description: str | None = None,
        metadata_scheme: str | Mapping[str, Any] | None = None,
        public_read: bool | None = None,
        text_search: TextSearch | None = None,
    ) -> Project:
        """Makes or replaces a project, on an instance. `metadata_scheme` is a JSON Schema, as object or text."""
        owner, handle = owner_and_handle(instance)
        body = given(
            project_handle=owner_and_handle(name)[1],
            instance_owner=owner,
            instance_handle=handle,
            description=description,
            metadataScheme=metadata_scheme,
            public_read=public_read,
            text_search=text_search,
        )
        self._transport.send("PUT", path_to("projects", name), type(None), body=body)
        return Project(self._transport, name)
