"""The client for programs that use asyncio.

Names of projects, instances and definitions are of the form `owner/name`.
"""

from vecferry.asynchronous.client import AsyncClient, AsyncKeys, AsyncProjects, AsyncUsers
from vecferry.asynchronous.embeddings import AsyncEmbeddings
from vecferry.asynchronous.instances import AsyncDefinitions, AsyncInstances
from vecferry.asynchronous.project import AsyncProject

__all__ = [
    "AsyncClient",
    "AsyncDefinitions",
    "AsyncEmbeddings",
    "AsyncInstances",
    "AsyncKeys",
    "AsyncProject",
    "AsyncProjects",
    "AsyncUsers",
]
