"""All routes: the endpoints of each module of this package."""

from service.api import (
    admin,
    api_standards,
    changes,
    deprecated,
    embed,
    embedding_batches,
    embeddings,
    health,
    instance_sharing,
    instance_usage,
    llm_definitions,
    llm_instances,
    metrics,
    pages,
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
from service.http.endpoint import Endpoint, defined_in

endpoints: list[Endpoint] = [
    # What is called most comes first, as routes are tried in turn.
    *defined_in(similars),
    # Changes come before an embedding, whose id could be `changes`.
    *defined_in(changes, embeddings, embedding_batches, texts),
    *defined_in(users, api_standards, llm_definitions, llm_instances, embed, instance_sharing, instance_usage),
    *deprecated.endpoints,
    *defined_in(project_list, projects, project_map, project_sharing, schema_check),
    *defined_in(admin, status, root, health, metrics, pages),
]
