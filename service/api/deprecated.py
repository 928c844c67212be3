"""`/v1/llm-services`: the routes of instances under their older names (contract section 5), deprecated.

`llm_service_handle` and `llm_service_id` replace `instance_handle` and `instance_id` in requests and answers; the
endpoints of `service.api.llm_instances` do the rest.
"""

from typing import Any

import msgspec
from msgspec.structs import replace

from service.api import llm_instances as newer
from service.api.fields import Handle
from service.api.instance_sharing import InstanceShares, get_instance_shares, share_instance, unshare_instance
from service.api.llm_instances import FromDefinition, InstanceIn, Instances
from service.errors import ApiError, Problem
from service.http.endpoint import Endpoint, endpoints_of
from service.http.request import Req
from service.queries.llm_instances import Instance, InstanceBrief, InstanceRef

OLDER_NAMES = {"instance_handle": "llm_service_handle", "instance_id": "llm_service_id"}
NEWER_NAMES = {older: name for name, older in OLDER_NAMES.items()}


class ServiceIn(InstanceIn, frozen=True, kw_only=True, rename=OLDER_NAMES):
    """InstanceIn under its older names."""

    instance_handle: Handle


class ServiceFromDefinition(FromDefinition, frozen=True, kw_only=True, rename=OLDER_NAMES):
    """FromDefinition under its older names."""

    instance_handle: Handle


class ServiceRef(InstanceRef, frozen=True, rename=OLDER_NAMES):
    """InstanceRef under its older names."""

    instance_handle: str
    instance_id: int


class ServiceBrief(InstanceBrief, frozen=True, omit_defaults=True, rename=OLDER_NAMES):
    """InstanceBrief under its older names."""

    instance_handle: str
    instance_id: int


class Service(Instance, frozen=True, omit_defaults=True, rename=OLDER_NAMES):
    """Instance under its older names."""

    instance_handle: str
    instance_id: int


class Services(msgspec.Struct, frozen=True, omit_defaults=True):
    """Instances under its older names; `next` is the URL of the next page."""

    instances: list[ServiceBrief]
    next: str | None = None


class ServiceShares(InstanceShares, frozen=True, rename=OLDER_NAMES):
    """InstanceShares under its older names."""

    instance_handle: str


OLDER_STRUCTS: dict[Any, Any] = {
    InstanceIn: ServiceIn,
    FromDefinition: ServiceFromDefinition,
    InstanceRef: ServiceRef,
    InstanceBrief: ServiceBrief,
    Instance: Service,
    Instances: Services,
    InstanceShares: ServiceShares,
}


def _older(one: Endpoint) -> Endpoint:
    """The endpoint at its older path, with the older names."""

    async def handler(req: Req, **arguments: Any) -> Any:
        body = arguments.get("body")
        if isinstance(body, dict):  # a merge patch
            arguments["body"] = {NEWER_NAMES.get(name, name): value for name, value in body.items()}
        elif body is not None and type(body) in (ServiceIn, ServiceFromDefinition):
            kind = InstanceIn if isinstance(body, ServiceIn) else FromDefinition
            arguments["body"] = msgspec.convert(body, kind, from_attributes=True)
        try:
            result = await one.handler(req, **arguments)
        except ApiError as error:
            error.problems = [_renamed(problem) for problem in error.problems]
            raise
        return None if result is None else msgspec.convert(result, OLDER_STRUCTS[type(result)], from_attributes=True)

    return replace(
        one,
        handler=handler,
        path=one.path.replace("/llm-instances/", "/llm-services/"),
        name=f"{one.name}_by_older_name",
        description=f"{one.description}\n\nDeprecated: use `{one.path}`.",
        body_type=OLDER_STRUCTS.get(one.body_type, one.body_type),
        returns=OLDER_STRUCTS.get(one.returns, one.returns),
        patches=OLDER_STRUCTS.get(one.patches),
        successor=one.path,
    )


def _renamed(problem: Problem) -> Problem:
    location, message = problem.location or "", problem.message
    for name, older in OLDER_NAMES.items():
        location = location.replace(f"body.{name}", f"body.{older}")
        if "is not a known" in message:  # it lists the known names
            message = message.replace(name, older)
    return Problem(message, location or None, problem.value)


endpoints = [_older(one) for one in (*endpoints_of(newer), share_instance, unshare_instance, get_instance_shares)]
