"""Thin handlers, one module a resource; each ends in its list of endpoints."""

from collections.abc import Sequence

from service.api import embeddings, health, llm_definitions, llm_instances, projects, similars, users
from service.http import Endpoint

endpoints: Sequence[Endpoint] = [
    *health.endpoints,
    *users.endpoints,
    *llm_definitions.endpoints,
    *llm_instances.endpoints,
    *projects.endpoints,
    *embeddings.endpoints,
    *similars.endpoints,
]
