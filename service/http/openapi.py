"""The OpenAPI 3.1 document, generated from the endpoints' metadata and their msgspec structs."""

import re
import typing
from collections.abc import Iterable
from http import HTTPStatus
from typing import Any

import msgspec
from pgvector import HalfVector
from starlette.responses import Response

from service import __version__
from service.errors import ProblemDetails
from service.http.auth import INSTANCE_GUARDS, PUBLIC_GUARDS, anyone
from service.http.body import MERGE_PATCH
from service.http.endpoint import Endpoint
from service.http.paging import Page
from service.http.responses import FORMATS, JSON, PROBLEM

REFERENCE = "#/components/schemas/{name}"
READ_FROM = {
    "name": "X-Read-From",
    "in": "header",
    "required": False,
    "description": "`primary`: read from the primary, because a replica may not have the latest writes yet.",
    "schema": {"type": "string"},
}
READ_FROM_ANSWER = {"description": "`replica` if a replica has answered.", "schema": {"type": "string"}}
NEXT = {"description": 'The next page, as `rel="next"`, if there is one.', "schema": {"type": "string"}}
TAGS = {
    "users": "Users and their keys.",
    "api-standards": "How the interfaces of providers work.",
    "llm-definitions": "Templates for instances.",
    "llm-instances": "Users' own services, with the encrypted key of their provider.",
    "llm-services": "Instances under their older names. Deprecated.",
    "projects": "Projects: collections of embeddings of one instance, shared as a whole.",
    "embeddings": "Storing and reading embeddings.",
    "similars": "Similarity search.",
    "admin": "Administration.",
    "service": "The service itself.",
}


def document(endpoints: Iterable[Endpoint]) -> dict[str, Any]:
    """The OpenAPI 3.1 document of these endpoints, as JSON values."""
    listed = list(endpoints)
    parameters = {kind for one in listed for kind in (one.path_type, one.query_type) if kind is not None}
    bodies = {kind for one in listed for kind in (one.body_type, one.returns, one.patches, one.streams)}
    kinds = parameters | {_error_type(one) for one in listed} | (bodies - {None, type(None), Response})
    ordered = sorted(kinds, key=str)
    schemas, components = msgspec.json.schema_components(ordered, schema_hook=_schema_hook, ref_template=REFERENCE)
    schema_of = dict(zip(ordered, schemas, strict=True))
    patched = {one.patches for one in listed if one.patches is not None}

    paths: dict[str, Any] = {}
    for one in listed:
        paths.setdefault(one.path, {})[one.method.lower()] = _operation(one, schema_of, components)
    for kind in patched:
        name = schema_of[kind]["$ref"].rpartition("/")[2]
        components[f"{name}Patch"] = _without_required(components[name])
    for kind in parameters:  # documented inline
        components.pop(schema_of[kind]["$ref"].rpartition("/")[2], None)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "embedding-service",
            "version": __version__,
            "summary": "Stores embeddings for many users and projects, and finds similar ones.",
            "description": "Errors are `application/problem+json` (RFC 9457). Every answer has an `X-Request-ID`.",
            "license": {"name": "MIT", "identifier": "MIT"},
        },
        "servers": [{"url": "."}],
        "tags": [{"name": name, "description": text} for name, text in TAGS.items()],
        "paths": paths,
        "components": {
            "schemas": dict(sorted(components.items())),
            "securitySchemes": {
                "key": {"type": "http", "scheme": "bearer", "description": "A user's key, or the admin's."}
            },
        },
    }


def _operation(one: Endpoint, schema_of: dict[Any, Any], components: dict[str, Any]) -> dict[str, Any]:
    summary, _, description = one.description.partition("\n")
    operation: dict[str, Any] = {
        "operationId": one.name,
        "summary": summary.rstrip("."),
        "tags": [_tag(one.path)],
        "parameters": _parameters(one, schema_of, components),
        "responses": _responses(one, schema_of),
    }
    if description.strip():
        operation["description"] = description.strip()
    if one.guard is not anyone:
        # The empty requirement: no key is needed for public resources.
        operation["security"] = [{"key": []}, *([{}] if one.guard in PUBLIC_GUARDS else [])]
    if one.successor is not None:
        operation["deprecated"] = True
    if one.patches is not None:
        patch = {"schema": {"$ref": schema_of[one.patches]["$ref"] + "Patch"}}
        operation["requestBody"] = {"required": True, "content": {MERGE_PATCH: patch, JSON: patch}}
    elif (sent := one.body_type or one.streams) is not None:
        content = {kind: {"schema": schema_of[sent]} for kind in one.consumes}
        operation["requestBody"] = {"required": True, "content": content}
    return operation


def _tag(path: str) -> str:
    segments = path.split("/")
    return segments[2] if segments[1] == "v1" else "service"


def _parameters(one: Endpoint, schema_of: dict[Any, Any], components: dict[str, Any]) -> list[dict[str, Any]]:
    in_path = _properties(one.path_type, schema_of, components)
    listed: list[dict[str, Any]] = []
    for name in re.findall(r"{(\w+)}", one.path):
        schema = in_path.get(name, {"type": "string"})
        if "enum" not in schema:
            schema = {"minLength": 1, "maxLength": 300, **schema}
        listed.append({"name": name, "in": "path", "required": True, "schema": schema})
    for name, schema in _properties(one.query_type, schema_of, components).items():
        parameter: dict[str, Any] = {"name": name, "in": "query", "required": False, "schema": _never_null(schema)}
        if parameter["schema"].get("type") == "array":
            parameter |= {"style": "form", "explode": False}
        listed.append(parameter)
    return [*listed, READ_FROM] if one.reads_from_replica else listed


def _properties(kind: Any, schema_of: dict[Any, Any], components: dict[str, Any]) -> dict[str, Any]:
    """The schemas of the fields of a struct."""
    if kind is None:
        return {}
    properties: dict[str, Any] = components[schema_of[kind]["$ref"].rpartition("/")[2]]["properties"]
    return properties


def _never_null(schema: dict[str, Any]) -> dict[str, Any]:
    """Removes null from a schema: an optional parameter is omitted instead."""
    rest = {key: value for key, value in schema.items() if key != "anyOf" and (key, value) != ("default", None)}
    alternatives = [member for member in schema.get("anyOf", []) if member != {"type": "null"}]
    if len(alternatives) == 1:
        return {**rest, **alternatives[0]}
    return {**rest, "anyOf": alternatives} if alternatives else rest


def _responses(one: Endpoint, schema_of: dict[Any, Any]) -> dict[str, Any]:
    success: dict[str, Any] = {"description": HTTPStatus(one.status).phrase}
    if one.returns is Response:
        success["content"] = {one.produces: {"schema": {"type": "object"} if one.produces == JSON else {}}}
    elif one.returns is not type(None):
        success["content"] = {kind: {"schema": schema_of[one.returns]} for kind in FORMATS}
    if one.reads_from_replica:
        success["headers"] = {"X-Read-From": READ_FROM_ANSWER}
    if one.query_type is not None and issubclass(one.query_type, Page):
        success.setdefault("headers", {})["Link"] = NEXT
    responses = {str(one.status): success}
    if one.may_be_accepted:
        responses["202"] = {**success, "description": "Accepted: not ready yet; retry after `Retry-After` seconds"}
    for status in sorted(_error_statuses(one)):
        media_type = PROBLEM if one.error_body is None else JSON
        content = {media_type: {"schema": schema_of[_error_type(one)]}}
        responses[str(status)] = {"description": HTTPStatus(status).phrase, "content": content}
    return responses


def _error_type(one: Endpoint) -> Any:
    """The struct of an endpoint's errors."""
    return ProblemDetails if one.error_body is None else typing.get_type_hints(one.error_body)["return"]


def _error_statuses(one: Endpoint) -> set[int]:
    """The error statuses of an endpoint: its own, and those of every route of its kind."""
    statuses = {*one.errors, 500}
    if not one.is_probe:
        statuses.add(429)
    if one.guard is not anyone:
        statuses |= {401, 403, 503}
    if one.guard in INSTANCE_GUARDS:
        statuses.add(409)
    if "{" in one.path:
        statuses |= {400, 404, 422}
    if one.path.startswith("/v1/"):
        statuses.add(422)  # for unknown parameters
    if one.query_type is not None:
        statuses.add(503)
    if one.body_type is not None or one.streams is not None:
        statuses |= {400, 408, 413, 415, 422}
    return statuses


def _without_required(struct: dict[str, Any]) -> dict[str, Any]:
    """The schema of a merge patch: every property is optional and nullable."""
    properties = {
        name: schema if {"type": "null"} in schema.get("anyOf", []) else {"anyOf": [schema, {"type": "null"}]}
        for name, schema in struct["properties"].items()
    }
    return {**{key: value for key, value in struct.items() if key != "required"}, "properties": properties}


def _schema_hook(kind: type) -> dict[str, Any]:
    if kind is HalfVector:
        return {"type": "array", "items": {"type": "number"}, "description": "The shortest decimals of the halves."}
    raise NotImplementedError
