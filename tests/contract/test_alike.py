"""Users are not mistaken for one another: no two of them differ in the case of their handle or e-mail only."""

import asyncio

import httpx2
import psycopg
import pytest

from tests.conftest import client_of, settings_for
from tests.support.world import Headers, fetch, problem, refused, status, unique, user


def body(handle: str, email: str) -> dict[str, str]:
    return {"user_handle": handle, "email": email}


async def test_a_handle_that_differs_in_case_only_is_refused(api: httpx2.AsyncClient, admin: Headers) -> None:
    mara = await user(api, admin)
    alike = mara.handle.swapcase()
    sent = body(alike, f"{unique('e')}@example.org")
    refused(await api.put(f"/v1/users/{alike}", json=sent, headers=admin), 409, "body.user_handle")
    refused(await api.post("/v1/users", json=sent, headers=admin), 409, "body.user_handle")
    assert await status(api, f"/v1/users/{alike}", admin) == 404  # and a path goes on meaning one case
    assert (await api.put(mara.path, json=body(mara.handle, mara.email), headers=admin)).status_code == 201
    assert (await api.delete(mara.path, headers=admin)).status_code == 204
    assert (await api.put(f"/v1/users/{alike}", json=sent, headers=admin)).status_code == 201


@pytest.mark.parametrize("handle", ["Admin", "ADMIN", "Public", "pUBLIC"])
async def test_so_is_one_that_is_reserved(api: httpx2.AsyncClient, admin: Headers, handle: str) -> None:
    sent = body(handle, f"{unique('e')}@example.org")
    refused(await api.put(f"/v1/users/{handle}", json=sent, headers=admin), 409, "body.user_handle")


async def test_an_address_that_differs_in_case_only_is_refused(api: httpx2.AsyncClient, admin: Headers) -> None:
    mara, other = await user(api, admin), await user(api, admin)
    alike = mara.email.upper()
    new = body(unique("u"), alike)
    refused(await api.post("/v1/users", json=new, headers=admin), 409, "body.email")
    refused(await api.put(other.path, json=body(other.handle, alike), headers=admin), 409, "body.email")
    refused(await api.patch(other.path, json={"email": alike}, headers=admin), 409, "body.email")
    assert (await fetch(api, other.path, admin))["email"] == other.email
    # One's own may be written anew.
    assert (await api.patch(mara.path, json={"email": alike}, headers=admin)).json()["email"] == alike
    refused(await api.patch(other.path, json={"email": alike.lower()}, headers=admin), 409, "body.email")


async def test_of_many_at_once_one_is_made(api: httpx2.AsyncClient, admin: Headers) -> None:
    for _ in range(5):
        handle, email = unique("race"), f"{unique('e')}@example.org"
        handles = [handle, handle.upper(), handle.title(), handle[:4].upper() + handle[4:]]
        sent = [body(one, f"{unique('e')}@example.org") for one in handles]
        answers = await asyncio.gather(*(api.post("/v1/users", json=one, headers=admin) for one in sent))
        assert sorted(one.status_code for one in answers) == [201, 409, 409, 409]
        emails = [email, email.upper(), email.title(), email.swapcase()]
        sent = [body(unique("u"), one) for one in emails]
        answers = await asyncio.gather(*(api.post("/v1/users", json=one, headers=admin) for one in sent))
        assert sorted(one.status_code for one in answers) == [201, 409, 409, 409]


async def test_two_that_an_original_database_holds_both_stay(url: str, admin: Headers) -> None:
    with psycopg.connect(url) as connection:
        connection.execute(
            "INSERT INTO users (user_handle, email, vdb_key) VALUES ('mara', 'm@x.org', repeat('a', 64)), "
            "('Mara', 'M@x.org', repeat('b', 64)), ('Public', 'p@x.org', repeat('c', 64))"
        )
    async with client_of(settings_for(url), headers=admin) as api:
        for handle, email in (("mara", "m@x.org"), ("Mara", "M@x.org"), ("Public", "p@x.org")):
            sent = {**body(handle, email), "name": "N"}
            assert (await api.put(f"/v1/users/{handle}", json=sent)).status_code == 201
            assert (await api.patch(f"/v1/users/{handle}", json={"name": handle})).json()["name"] == handle
        problem(await api.post("/v1/users", json=body("MARA", "new@x.org")), 409)
        problem(await api.post("/v1/users", json=body("nina", "m@X.org")), 409)
        problem(await api.patch("/v1/users/Mara", json={"email": "m@x.org"}), 409)  # the very same
        assert (await api.delete("/v1/users/mara")).status_code == 204
        assert (await api.get("/v1/users/Mara")).json()["name"] == "Mara"
