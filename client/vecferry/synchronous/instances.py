# Made from vecferry/asynchronous by generate_synchronous.py: change that, and run this.
"""Definitions and instances."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import date, datetime
from typing import Any, Literal

from vecferry import engines
from vecferry.loop_thread import SyncTransport
from vecferry.names import given, owner_and_handle, path_of, path_to
from vecferry.structs import Definition, Embedded, InputType, Instance, Role, Share, Used
from vecferry.synchronous.lists import listed


class Definitions:
    """Templates of instances. Those of `_system` are built in."""

    def __init__(self, transport: SyncTransport) -> None:
        self._transport = transport

    def list(self, owner: str | None = None) -> Iterator[Definition]:
        """All definitions that this key may use, or those of a user, with `_system` and shared ones."""
        path = path_of("llm-definitions", *([] if owner is None else [owner]))
        return listed(self._transport, path, "definitions", Definition)

    def get(self, name: str) -> Definition:
        """A definition."""
        return self._transport.send("GET", path_to("llm-definitions", name), Definition)

    def put(
        self,
        name: str,
        *,
        api_standard: str,
        endpoint: str | None = None,
        description: str | None = None,
        model: str | None = None,
        dimensions: int | None = None,
        context_limit: int | None = None,
        is_public: bool | None = None,
    ) -> None:
        """Makes or replaces a definition."""
        body = given(
            definition_handle=owner_and_handle(name)[1],
            api_standard=api_standard,
            endpoint=endpoint,
            description=description,
            model=model,
            dimensions=dimensions,
            context_limit=context_limit,
            is_public=is_public,
        )
        self._transport.send("PUT", path_to("llm-definitions", name), type(None), body=body)

    def patch(self, name: str, changes: Mapping[str, Any]) -> Definition:
        """Changes some properties (a JSON merge patch)."""
        return self._transport.send("PATCH", path_to("llm-definitions", name), Definition, body=changes)

    def delete(self, name: str) -> None:
        """Deletes a definition. Instances made from it stay."""
        self._transport.send("DELETE", path_to("llm-definitions", name), type(None))

    def share(self, name: str, user: str) -> None:
        """Shares a definition with a user, to be read and used."""
        body = {"share_with_handle": user}
        self._transport.send("POST", path_to("llm-definitions", name, "share"), type(None), body=body)

    def unshare(self, name: str, user: str) -> None:
        """Ends the sharing with a user."""
        self._transport.send("DELETE", path_to("llm-definitions", name, "share", user), type(None))

    def shared_with(self, name: str) -> Iterator[str]:
        """The handles of the users with whom a definition is shared."""
        for page in self._transport.pages(path_to("llm-definitions", name, "shared-with"), list[str]):
            for one in page:
                yield one


class Instances:
    """Models that embed texts: model, dimensions, and the key of the provider, which is never shown."""

    def __init__(self, transport: SyncTransport) -> None:
        self._transport = transport

    def list(self, owner: str, *, access: Literal["all", "shared"] = "all") -> Iterator[Instance]:
        """A user's own instances and those shared with the user, or only the latter."""
        query = {"access": None if access == "all" else access}
        return listed(self._transport, path_of("llm-instances", owner), "instances", Instance, query)

    def get(self, name: str) -> Instance:
        """An instance."""
        return self._transport.send("GET", path_to("llm-instances", name), Instance)

    def put(
        self,
        name: str,
        *,
        dimensions: int,
        endpoint: str | None = None,
        description: str | None = None,
        api_standard: str | None = None,
        model: str | None = None,
        context_limit: int | None = None,
        api_key: str | None = None,
        tokens_per_day: int | None = None,
        tokens_per_month: int | None = None,
        requests_per_minute: int | None = None,
        expires_at: datetime | None = None,
    ) -> None:
        """Makes or replaces an instance. `api_key` None keeps the stored key of the provider, `""` removes it."""
        body = given(
            instance_handle=owner_and_handle(name)[1],
            dimensions=dimensions,
            endpoint=endpoint,
            description=description,
            api_standard=api_standard,
            model=model,
            context_limit=context_limit,
            api_key=api_key,
            tokens_per_day=tokens_per_day,
            tokens_per_month=tokens_per_month,
            requests_per_minute=requests_per_minute,
            expires_at=expires_at,
        )
        self._transport.send("PUT", path_to("llm-instances", name), type(None), body=body)

    def from_definition(
        self, name: str, definition: str, *, api_key: str | None = None, endpoint: str | None = None
    ) -> None:
        """Makes or replaces an instance, from a definition such as `_system/openai-small`."""
        owner, handle = owner_and_handle(definition)
        body = given(
            instance_handle=owner_and_handle(name)[1],
            definition_owner=owner,
            definition_handle=handle,
            api_key=api_key,
            endpoint=endpoint,
        )
        path = path_of("llm-instances", owner_and_handle(name)[0], "from-definition")
        self._transport.send("POST", path, type(None), body=body)

    def patch(self, name: str, changes: Mapping[str, Any]) -> Instance:
        """Changes some properties (a JSON merge patch); `{"api_key": None}` removes the key."""
        return self._transport.send("PATCH", path_to("llm-instances", name), Instance, body=changes)

    def delete(self, name: str) -> None:
        """Deletes an instance that no project uses."""
        self._transport.send("DELETE", path_to("llm-instances", name), type(None))

    def embed(self, name: str, texts: Sequence[str], *, input_type: InputType = "document") -> Embedded:
        """Embeds texts without storing them. Not repeated after a broken connection: it may cost money."""
        return self._transport.run(lambda transport: engines.embed(transport, name, texts, input_type))

    def usage(
        self, name: str, *, first: date | None = None, last: date | None = None, by: Literal["day", "user"] = "day"
    ) -> Iterator[Used]:
        """The usage of an instance in the last 30 days, or in those given (UTC, both included)."""
        query = {"from": first, "to": last, "by": by}
        return listed(self._transport, path_to("llm-instances", name, "usage"), "usage", Used, query)

    def share(
        self,
        name: str,
        user: str,
        role: Role,
        *,
        tokens_per_day: int | None = None,
        tokens_per_month: int | None = None,
        requests_per_minute: int | None = None,
        expires_at: datetime | None = None,
    ) -> None:
        """Shares an instance with a user, who may build projects on it and embed, within limits."""
        body = given(
            share_with_handle=user,
            role=role,
            tokens_per_day=tokens_per_day,
            tokens_per_month=tokens_per_month,
            requests_per_minute=requests_per_minute,
            expires_at=expires_at,
        )
        self._transport.send("POST", path_to("llm-instances", name, "share"), type(None), body=body)

    def unshare(self, name: str, user: str) -> None:
        """Ends the sharing with a user."""
        self._transport.send("DELETE", path_to("llm-instances", name, "share", user), type(None))

    def shared_with(self, name: str) -> Iterator[Share]:
        """The users with whom an instance is shared."""
        return listed(self._transport, path_to("llm-instances", name, "shared-with"), "shared_with", Share)
