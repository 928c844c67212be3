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
from service.http.endpoint import Endpoint, endpoints_of

endpoints: Sequence[Endpoint] = [
    # What is called most comes first, as routes are tried in turn.
    *endpoints_of(similars),
    *endpoints_of(changes),  # before an embedding, whose id could be `changes`
    *endpoints_of(embedding_pages),
    *endpoints_of(embeddings),
    *endpoints_of(embedding_batches),
    *endpoints_of(texts),
    *endpoints_of(users),
    *endpoints_of(api_standards),
    *endpoints_of(llm_definitions),
    *endpoints_of(llm_instances),
    *endpoints_of(embed),
    *endpoints_of(instance_sharing),
    *endpoints_of(instance_usage),
    *deprecated.endpoints,
    *endpoints_of(project_list),
    *endpoints_of(projects),
    *endpoints_of(project_map),
    *endpoints_of(project_sharing),
    *endpoints_of(schema_check),
    *endpoints_of(admin),
    *endpoints_of(status),
    *endpoints_of(root),
    *endpoints_of(health),
    *endpoints_of(metrics),
    *endpoints_of(console),
    *endpoints_of(docs),
]
