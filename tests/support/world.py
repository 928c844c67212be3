"""Factories for users, instances, projects and rows, and the checks that every answer must pass.

All tests share one database and run in any order: every factory makes new handles, and no test may
assume that a list is empty or look at what another test has made.
"""

import json
import uuid
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

import httpx2
import numpy as np

Json = dict[str, Any]
Headers = dict[str, str]

UNKNOWN_KEY: Headers = {"Authorization": "Bearer " + "0" * 64}
JSON_TYPE: Headers = {"Content-Type": "application/json"}
MAX_BODY = 4 * 1024 * 1024
"""The default of the setting that limits a body (contract, section 7)."""


@dataclass(frozen=True, slots=True)
class User:
    handle: str
    key: str
    email: str

    @property
    def headers(self) -> Headers:
        return {"Authorization": f"Bearer {self.key}"}

    @property
    def path(self) -> str:
        return f"/v1/users/{self.handle}"


@dataclass(frozen=True, slots=True)
class Instance:
    owner: User
    handle: str
    id: int
    dimensions: int

    @property
    def path(self) -> str:
        return f"/v1/llm-instances/{self.owner.handle}/{self.handle}"


@dataclass(frozen=True, slots=True)
class Project:
    owner: User
    handle: str
    id: int
    instance: Instance

    @property
    def path(self) -> str:
        return f"/v1/projects/{self.owner.handle}/{self.handle}"

    @property
    def embeddings(self) -> str:
        return f"/v1/embeddings/{self.owner.handle}/{self.handle}"

    @property
    def similars(self) -> str:
        return f"/v1/similars/{self.owner.handle}/{self.handle}"

    @property
    def body(self) -> Json:
        """The least body that puts this project again."""
        return {"project_handle": self.handle, "instance_handle": self.instance.handle}

    def embedding(self, text_id: str) -> str:
        return f"{self.embeddings}/{segment(text_id)}"

    def similar(self, text_id: str) -> str:
        return f"{self.similars}/{segment(text_id)}"


def unique(prefix: str) -> str:
    return f"{prefix}-{uuid.uuid4().hex[:16]}"


def segment(text: str) -> str:
    """One path segment; dots too where a client would take the segment for a step in the path."""
    return text.replace(".", "%2E") if text in {".", ".."} else quote(text, safe="")


def row(text_id: object, vector: object, **fields: object) -> Json:
    return {"text_id": text_id, "vector": vector, **fields}


def batch(*rows: Json) -> Json:
    return {"embeddings": list(rows)}


# Factories


async def user(api: httpx2.AsyncClient, admin: Headers, **fields: object) -> User:
    handle = unique("u")
    email = f"{handle}@example.org"
    body = {"user_handle": handle, "email": email, **fields}
    response = await api.put(f"/v1/users/{handle}", json=body, headers=admin)
    assert response.status_code == 201, response.text
    return User(handle, response.json()["vdb_key"], email)


async def instance(api: httpx2.AsyncClient, owner: User, *, dimensions: int = 3, **fields: object) -> Instance:
    handle = unique("i")
    body = {"instance_handle": handle, "dimensions": dimensions, **fields}
    response = await api.put(f"/v1/llm-instances/{owner.handle}/{handle}", json=body, headers=owner.headers)
    assert response.status_code == 201, response.text
    return Instance(owner, handle, response.json()["instance_id"], dimensions)


async def project(
    api: httpx2.AsyncClient, owner: User, *, on: Instance | None = None, dimensions: int = 3, **fields: object
) -> Project:
    on = on or await instance(api, owner, dimensions=dimensions)
    handle = unique("p")
    body = {"project_handle": handle, "instance_handle": on.handle, **fields}
    response = await api.put(f"/v1/projects/{owner.handle}/{handle}", json=body, headers=owner.headers)
    assert response.status_code == 201, response.text
    return Project(owner, handle, response.json()["project_id"], on)


async def upload(api: httpx2.AsyncClient, to: Project, *rows: Json) -> Json:
    response = await api.post(to.embeddings, json=batch(*rows), headers=to.owner.headers)
    assert response.status_code == 201, response.text
    return response.json()


async def fetch(api: httpx2.AsyncClient, path: str, headers: Headers, **params: str | int | float) -> Any:
    """The body of a GET that must succeed."""
    response = await api.get(path, headers=headers, params=params)
    assert response.status_code == 200, response.text
    return response.json()


async def status(api: httpx2.AsyncClient, path: str, headers: Headers | None = None) -> int:
    return (await api.get(path, headers=headers)).status_code


async def snapshot(api: httpx2.AsyncClient, of: Project) -> tuple[Json, list[Json]]:
    """All that a refused request may not have changed in a project of at most 200 rows."""
    about = await fetch(api, of.path, of.owner.headers)
    rows = await fetch(api, of.embeddings, of.owner.headers, limit=200)
    return about, rows["embeddings"]


async def pages(
    api: httpx2.AsyncClient, path: str, headers: Headers, *, field: str | None, limit: int, **params: str
) -> list[Any]:
    """The whole list, page by page: bare, or under the name `field`."""
    found: list[Any] = []
    while True:
        body = await fetch(api, path, headers, limit=limit, offset=len(found), **params)
        page = body if field is None else body[field]
        assert len(page) <= limit
        if not page:
            return found
        found += page


# Checks


def problem(response: httpx2.Response, expected: int) -> Json:
    """An RFC 9457 answer of this status and the contract's shape; returns its body."""
    assert response.status_code == expected, response.text
    assert response.headers["content-type"].split(";")[0] == "application/problem+json"
    assert response.headers["x-request-id"]
    body: Json = response.json()
    assert body["status"] == expected
    assert isinstance(body["title"], str)
    assert body["title"]
    assert isinstance(body["detail"], str)
    assert body["detail"]
    assert len(body.get("errors", [])) <= 100
    for error in body.get("errors", []):
        check_error(error)
    return body


def check_error(error: Json) -> None:
    assert set(error) <= {"message", "location", "value"}
    assert isinstance(error["message"], str)
    assert error["message"]
    value = error.get("value")
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    assert len(text) <= 200


def locations(body: Json) -> set[str]:
    return {error.get("location", "") for error in body.get("errors", [])}


def refused(response: httpx2.Response, expected: int, *at: str) -> Json:
    """A refusal that names every one of these places."""
    body = problem(response, expected)
    assert set(at) <= locations(body), body
    return body


def refused_below(response: httpx2.Response, expected: int, at: str) -> Json:
    """A refusal that names this place or one inside it."""
    body = problem(response, expected)
    assert any(place == at or place.startswith((f"{at}.", f"{at}[")) for place in locations(body)), body
    return body


def names_property(body: Json, parent: str, name: str) -> bool:
    """Whether a missing or unknown property is named: by its place, or by its parent's and the message.

    The contract shows places of values only, so either way of placing a property that is not there is right.
    """
    return any(
        error.get("location") == f"{parent}.{name}" or (error.get("location") == parent and name in error["message"])
        for error in body.get("errors", [])
    )


def refused_property(response: httpx2.Response, parent: str, name: str) -> Json:
    """A 422 for a property that is missing or unknown; it never echoes the object around it."""
    body = problem(response, 422)
    assert names_property(body, parent, name), body
    assert not any(isinstance(error.get("value"), dict) for error in body["errors"])
    return body


# Numbers


def halves(vector: list[float]) -> list[float]:
    """What a vector comes back as: the shortest decimals of its halves."""
    return [float(str(np.float16(x))) for x in vector]


def same_halves(left: list[float], right: list[float]) -> bool:
    return bool(np.array_equal(np.array(left, dtype=np.float16), np.array(right, dtype=np.float16)))


def similarity(left: list[float], right: list[float]) -> float:
    """1 - cosine distance of the halves."""
    a = np.array(left, dtype=np.float16).astype(np.float64)
    b = np.array(right, dtype=np.float16).astype(np.float64)
    return float(a @ b / (np.linalg.norm(a) * np.linalg.norm(b)))


def random_vectors(count: int, dimensions: int, *, seed: int) -> list[list[float]]:
    drawn = np.random.default_rng(seed).standard_normal((count, dimensions))
    return [[float(x) for x in vector] for vector in drawn]


async def standard(api: httpx2.AsyncClient, admin: Headers) -> str:
    handle = unique("s")
    body = {"api_standard_handle": handle, "description": "d", "key_method": "query_param", "key_field": "k"}
    assert (await api.put(f"/v1/api-standards/{handle}", json=body, headers=admin)).status_code == 201
    return f"/v1/api-standards/{handle}"


async def definition(api: httpx2.AsyncClient, owner: User) -> str:
    handle = unique("d")
    path = f"/v1/llm-definitions/{owner.handle}/{handle}"
    body = {"definition_handle": handle, "api_standard": "openai", "model": "m", "dimensions": 3}
    assert (await api.put(path, json=body, headers=owner.headers)).status_code == 201
    return path
