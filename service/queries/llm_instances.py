"""Statements of `sql/llm_instances.sql`: users' configured models, with the encrypted keys of providers."""

from datetime import datetime
from typing import Any

import msgspec

from service.database.statements import Db, Queries
from service.queries.users import SharedWith

query = Queries(__name__)


class Model(msgspec.Struct, frozen=True):
    """The model of an instance, its API, and its encrypted key.

    Without a `dialect` the service does not call it. `is_usable`: the given user has access; `is_limited`: there is a
    limit of use. `plaintext_key` is a key of the original system.
    """

    instance_id: int
    owner: str
    instance_handle: str
    dialect: str | None
    key_method: str
    key_field: str | None
    endpoint: str | None
    name: str | None
    dimensions: int
    sealed_key: bytes | None
    sealed_by: str | None
    plaintext_key: str | None
    is_usable: bool
    is_limited: bool

    def __repr__(self) -> str:
        return f"Model({self.instance})"  # without the key

    @property
    def instance(self) -> str:
        """The instance as `owner/handle`."""
        return f"{self.owner}/{self.instance_handle}"


class InstanceShare(SharedWith, frozen=True, omit_defaults=True):
    """A user with whom an instance is shared, and the user's limits."""

    tokens_per_day: int | None = None
    tokens_per_month: int | None = None
    requests_per_minute: int | None = None
    expires_at: datetime | None = None


class InstanceRef(msgspec.Struct, frozen=True):
    """The identity of an instance."""

    owner: str
    instance_handle: str
    instance_id: int


class ProjectInstance(msgspec.Struct, frozen=True, omit_defaults=True):
    """The instance of a project as visible to its readers.

    `can_embed`: the service can call it for the project. `text_search`: the users who may then search with texts.
    """

    owner: str
    instance_handle: str
    model: str | None
    dimensions: int
    api_standard: str
    can_embed: bool
    text_search: str


class InstanceBrief(InstanceRef, frozen=True, omit_defaults=True):
    """An instance in a user's list; `access_role` is `owner`, `editor` or `reader`."""

    access_role: str
    api_standard: str
    dimensions: int
    has_api_key: bool
    description: str | None = None
    model: str | None = None


class Instance(InstanceBrief, frozen=True, omit_defaults=True):
    """An instance without its key. `shared_with` is for the owner and the admin."""

    endpoint: str | None = None
    context_limit: int | None = None
    definition_id: int | None = None
    definition_owner: str | None = None
    definition_handle: str | None = None
    tokens_per_day: int | None = None
    tokens_per_month: int | None = None
    requests_per_minute: int | None = None
    expires_at: datetime | None = None
    shared_with: list[InstanceShare] | None = None


@query
async def upsert_llm_instance(
    db: Db,
    *,
    owner: str,
    instance_handle: str,
    endpoint: str | None,
    description: str | None,
    api_standard: str,
    model: str | None,
    dimensions: int | None,
    context_limit: int | None,
    definition_id: int | None,
    tokens_per_day: int | None,
    tokens_per_month: int | None,
    requests_per_minute: int | None,
    expires_at: datetime | None,
    change_key: bool,
    api_key_encrypted: bytes | None,
    api_key_sealed_by: str | None,
) -> InstanceRef:
    """Creates or replaces an instance, without its key unless `change_key`. Call `fit_tables_of_instance` afterwards.

    `definition_id` is the definition that it was made from.
    """


@query
async def fit_tables_of_instance(db: Db, *, instance_id: int) -> None:
    """Adapts the tables of an instance's empty projects to its dimensions.

    Violates `projects_dimensions_fixed` if a project has embeddings with other dimensions.
    """


@query
async def get_llm_instances_by_user(db: Db, *, user_handle: str, max_rows: int, skip: int) -> list[InstanceBrief]:
    """A page of a user's own and shared instances."""


@query
async def retrieve_llm_instance_role(db: Db, *, owner: str, instance_handle: str, caller: str) -> str | None:
    """The caller's role for an instance: `owner`, `editor` or `reader`, if any."""


@query
async def retrieve_llm_instance_by_id(db: Db, *, instance_id: int, holder: str) -> Model | None:
    """The model of an instance, with the access of its owner or a user with whom it is shared."""


@query
async def retrieve_llm_instance(db: Db, *, owner: str, instance_handle: str, role: str) -> Instance | None:
    """An instance as visible to a caller with `role`."""


@query
async def get_llm_instances_by_project(db: Db, *, project_id: int) -> ProjectInstance | None:
    """The instance of a project as visible to its readers."""


@query
async def delete_llm_instance(db: Db, *, owner: str, instance_handle: str) -> int | None:
    """Deletes an instance. Violates `projects_llm_service_instance_id_fkey` while a project uses it."""


@query
async def lock_llm_instance(db: Db, *, owner: str, instance_handle: str) -> dict[str, Any] | None:
    """An instance as the body of a PUT, locked until the end of the transaction."""


@query
async def get_shared_llm_instances(db: Db, *, user_handle: str, max_rows: int, skip: int) -> list[InstanceBrief]:
    """A page of the instances that are shared with a user."""


@query
async def lock_instance_share(db: Db, *, owner: str, instance_handle: str, user_handle: str) -> dict[str, Any] | None:
    """The role and the limits of a share, locked until the end of the transaction."""


@query
async def link_user_to_llm_instance(
    db: Db,
    *,
    owner: str,
    instance_handle: str,
    user_handle: str,
    role: str,
    tokens_per_day: int | None,
    tokens_per_month: int | None,
    requests_per_minute: int | None,
    expires_at: datetime | None,
) -> int | None:
    """Shares an instance, or changes the role and the limits.

    Violates `llm_service_instances_shared_with_user_handle_fkey` for an unknown user.
    """


@query
async def unshare_llm_instance(db: Db, *, owner: str, instance_handle: str, user_handle: str) -> int | None:
    """Ends a share; None if there was none."""
