"""Thin handlers, one module a resource; each ends in its list of endpoints."""

from collections.abc import Sequence

from service.api import (
    admin,
    api_standards,
    docs,
    embeddings,
    health,
    llm_definitions,
    llm_instances,
    llm_services,
    project_sharing,
    projects,
    similars,
    users,
)
from service.http import Endpoint

endpoints: Sequence[Endpoint] = [
    *users.endpoints,
    *api_standards.endpoints,
    *llm_definitions.endpoints,
    *llm_instances.endpoints,
    *llm_services.endpoints,
    *projects.endpoints,
    *project_sharing.endpoints,
    *embeddings.endpoints,
    *similars.endpoints,
    *admin.endpoints,
    *health.endpoints,
    *docs.endpoints,
]
