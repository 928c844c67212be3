"""`/v1/llm-services`: the routes of instances under their older names (contract section 5), deprecated.

`llm_service_handle` and `llm_service_id` replace `instance_handle` and `instance_id` in requests and answers; the
endpoints of `service.api.llm_instances` do the rest.
"""

from typing import Any

import msgspec
from msgspec.structs import replace

from service.api import llm_instances as newer
from service.api.instance_sharing import InstanceShares, get_instance_shares, share_instance, unshare_instance
from service.api.llm_instances import FromDefinition, InstanceIn, Instances
from service.errors import ApiError, Problem
from service.http.endpoint import Endpoint, defined_in
from service.http.request import Req
from service.queries.llm_instances import Instance, InstanceBrief, InstanceRef

OLDER_NAMES = {"instance_handle": "llm_service_handle", "instance_id": "llm_service_id"}
NEWER_NAMES = {older: name for name, older in OLDER_NAMES.items()}


def _older_struct(kind: type[msgspec.Struct], **more: Any) -> Any:
    """The struct under its older names, like `ServiceIn` for `InstanceIn`, with the types `more` of other fields."""
    renamed = {field.name: field.type for field in msgspec.structs.fields(kind) if field.name in OLDER_NAMES}
    return msgspec.defstruct(
        f"Service{kind.__name__.removeprefix('Instance')}",
        [*renamed.items(), *more.items()],
        bases=(kind,),
        module=__name__,
        namespace={"__doc__": f"{kind.__name__} under its older names."},
        frozen=True,
        rename=OLDER_NAMES,
    )


OLDER_STRUCTS: dict[Any, Any] = {
    kind: _older_struct(kind)
    for kind in (InstanceIn, FromDefinition, InstanceRef, InstanceBrief, Instance, InstanceShares)
}
OLDER_STRUCTS[Instances] = _older_struct(Instances, instances=list[OLDER_STRUCTS[InstanceBrief]])  # type: ignore[valid-type]
NEWER_STRUCTS = {older: kind for kind, older in OLDER_STRUCTS.items()}


def _older(one: Endpoint) -> Endpoint:
    """The endpoint at its older path, with the older names."""

    async def handler(req: Req, **arguments: Any) -> Any:
        body = arguments.get("body")
        if isinstance(body, dict):  # a merge patch
            arguments["body"] = {NEWER_NAMES.get(name, name): value for name, value in body.items()}
        elif type(body) in NEWER_STRUCTS:
            arguments["body"] = msgspec.convert(body, NEWER_STRUCTS[type(body)], from_attributes=True)
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


endpoints = [_older(one) for one in (*defined_in(newer), share_instance, unshare_instance, get_instance_shares)]
