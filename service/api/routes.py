"""All routes: the endpoints of each module of this package."""

from collections.abc import Sequence

from service.api import (
    admin,
    api_standards,
    changes,
    console,
    deprecated,
    docs,
    embed,
    embedding_batches,
    embedding_pages,
    embeddings,
    health,
    instance_sharing,
    instance_usage,
    llm_definitions,
    llm_instances,
    metrics,
    project_list,
    project_map,
    project_sharing,
    projects,
    root,
    schema_check,
    similars,
    status,
    texts,
    users,
)
from service.http.endpoint import Endpoint

endpoints: Sequence[Endpoint] = [
    # What is called most comes first, as routes are tried in turn.
    *similars.endpoints,
    *changes.endpoints,  # before an embedding, whose id could be `changes`
    *embedding_pages.endpoints,
    *embeddings.endpoints,
    *embedding_batches.endpoints,
    *texts.endpoints,
    *users.endpoints,
    *api_standards.endpoints,
    *llm_definitions.endpoints,
    *llm_instances.endpoints,
    *embed.endpoints,
    *instance_sharing.endpoints,
    *instance_usage.endpoints,
    *deprecated.endpoints,
    *project_list.endpoints,
    *projects.endpoints,
    *project_map.endpoints,
    *project_sharing.endpoints,
    *schema_check.endpoints,
    *admin.endpoints,
    *status.endpoints,
    *root.endpoints,
    *health.endpoints,
    *metrics.endpoints,
    *console.endpoints,
    *docs.endpoints,
]
