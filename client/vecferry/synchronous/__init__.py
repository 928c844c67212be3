# Made from vecferry/asynchronous by generate_synchronous.py: change that, and run this.
"""The client for programs that do not use asyncio.

Names of projects, instances and definitions are of the form `owner/name`.
"""

from vecferry.synchronous.client import Client, Keys, Projects, Users
from vecferry.synchronous.embeddings import Embeddings
from vecferry.synchronous.instances import Definitions, Instances
from vecferry.synchronous.project import Project

__all__ = [
    "Client",
    "Definitions",
    "Embeddings",
    "Instances",
    "Keys",
    "Project",
    "Projects",
    "Users",
]
