"""The client itself, users and the list of projects.

Names of projects, instances and definitions are of the form `owner/name`.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from types import TracebackType
from typing import Any

import httpx2

from vecferry.asynchronous.embeddings import AsyncEmbeddings
from vecferry.asynchronous.instances import AsyncDefinitions, AsyncInstances
from vecferry.asynchronous.lists import listed
from vecferry.asynchronous.project import AsyncProject
from vecferry.names import given, owner_and_handle, path_of, path_to
from vecferry.structs import Part, ProjectInfo, Similars, TextSearch, User, UserKey, WhoAmI
from vecferry.transport import Transport


class AsyncClient:
    """A client of one embedding service, with one key; without a key it reads public projects.

    `timeout`: seconds without a byte, after which a request has failed. `retries`: how often a request is repeated when
    the connection breaks or the service is busy. `http`: a client of httpx2, for proxies and certificates of its own;
    without one httpx2 finds them in the environment. Close it, or use it with `async with`.
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
        self._transport = Transport(url, key, timeout=timeout, retries=retries, http=http)
        self.users = AsyncUsers(self._transport)
        self.keys = AsyncKeys(self._transport)
        self.definitions = AsyncDefinitions(self._transport)
        self.instances = AsyncInstances(self._transport)
        self.projects = AsyncProjects(self._transport)

    def project(self, owner: str, name: str | None = None) -> AsyncProject:
        """A project, as `"owner/name"` or `"owner", "name"`. Nothing is sent until it is used."""
        return AsyncProject(self._transport, owner if name is None else f"{owner}/{name}")

    def embeddings(self, project: str) -> AsyncEmbeddings:
        """The embeddings of a project: the same as `project(…).embeddings`."""
        return self.project(project).embeddings

    async def similar(
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
        return await self.project(project).similar(
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

    async def whoami(self) -> WhoAmI:
        """The owner of the key. Raises Unauthorized for a missing or unknown key."""
        return await self._transport.send("GET", path_of("whoami"), WhoAmI)

    async def close(self) -> None:
        """Closes the connections."""
        await self._transport.close()

    async def __aenter__(self) -> AsyncClient:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()


class AsyncUsers:
    """Users; making and changing them is for the admin."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    async def list(self) -> AsyncIterator[str]:
        """The handles of all users."""
        async for page in self._transport.pages(path_of("users"), list[str]):
            for handle in page:
                yield handle

    async def get(self, user: str) -> User:
        """A user with everything that they own, and that is shared with them."""
        return await self._transport.send("GET", path_of("users", user), User)

    async def put(self, user: str, *, email: str, name: str | None = None) -> UserKey:
        """Makes a user, whose key is shown only once, or changes one."""
        body = given(user_handle=user, email=email, name=name)
        # Not repeated: the answer that was lost had the key.
        return await self._transport.send("PUT", path_of("users", user), UserKey, body=body, repeat=False)

    async def patch(self, user: str, changes: Mapping[str, Any]) -> User:
        """Changes some properties (a JSON merge patch)."""
        return await self._transport.send("PATCH", path_of("users", user), User, body=changes)

    async def delete(self, user: str) -> None:
        """Deletes a user with everything that they own."""
        await self._transport.send("DELETE", path_of("users", user), type(None))


class AsyncKeys:
    """The keys of users."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    async def exchange(self, user: str) -> UserKey:
        """A new key of a user; the old one stops working immediately, also for this client."""
        return await self._transport.send("POST", path_of("users", user, "key"), UserKey, repeat=False)


class AsyncProjects:
    """The projects of users; one alone is `client.project("owner/name")`."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def list(self, user: str) -> AsyncIterator[ProjectInfo]:
        """A user's own projects and those shared with the user."""
        return listed(self._transport, path_of("projects", user), "projects", ProjectInfo)

    async def put(
        self,
        name: str,
        *,
        instance: str,
        description: str | None = None,
        metadata_scheme: str | Mapping[str, Any] | None = None,
        public_read: bool | None = None,
        text_search: TextSearch | None = None,
    ) -> AsyncProject:
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
        await self._transport.send("PUT", path_to("projects", name), type(None), body=body)
        return AsyncProject(self._transport, name)
