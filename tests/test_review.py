"""Probes."""
import asyncio
import json
import re
from pathlib import Path

import httpx2

from tests.conftest import ADMIN_KEY, ENCRYPTION_KEY
from tests.contract import world
from tests.processes import served

ADMIN = {"Authorization": f"Bearer {ADMIN_KEY}"}


def memory(pid: int, what: str = "VmHWM") -> float:
    found = re.search(what + r":\s*(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    return int(found[1]) / 1024 if found else 0


async def test_a_search_repeats_texts(new_database, tmp_path):
    with served(tmp_path / "log", SERVICE_DATABASE_URL=new_database(), SERVICE_ADMINKEY=ADMIN_KEY, ENCRYPTION_KEY=ENCRYPTION_KEY, SERVICE_INDEXER="false") as (process, url):
        async with httpx2.AsyncClient(base_url=url, timeout=60) as api:
            u = await world.user(api, ADMIN)
            p = await world.project(api, u, public_read=True)
            await world.upload(api, p, *[world.row(f"t{n}", [1, n, 0], text="x" * 200_000) for n in range(5)])
            before = memory(process.pid)
            body = {"vectors": [[1.0, 0.0, 0.0]] * 200, "include": ["text"]}
            async with api.stream("POST", f"{p.similars}?threshold=-1", json=body) as r:
                print(r.status_code, r.headers.get("content-length"), len(json.dumps(body)))
                after = memory(process.pid)
            print("MiB before, after", before, after)
            assert after - before < 100


async def test_slow(new_database, tmp_path):
    from service import indexer
    from tests.test_remembered import AIMS, VECTORS, analyzed
    db = new_database()
    with served(tmp_path / "log", SERVICE_DATABASE_URL=db, SERVICE_ADMINKEY=ADMIN_KEY, ENCRYPTION_KEY=ENCRYPTION_KEY, SERVICE_INDEXER="false", SERVICE_BODY_SECONDS="1") as (process, url):
        async with httpx2.AsyncClient(base_url=url, timeout=60) as api:
            u = await world.user(api, ADMIN)
            p = await world.project(api, u)
            await world.upload(api, p, *[world.row(f"t{n:03}", v.astype(float).tolist()) for n, v in enumerate(VECTORS)])
            await analyzed(db, p)
            await indexer.run_once(db, AIMS)
            for _ in range(2):
                r = await api.post(p.similars, json={"vector": [1, 0, 0]}, headers=u.headers)
            print(r.json()["search"])
            reader, writer = await asyncio.open_connection("127.0.0.1", int(url.rpartition(":")[2]))
            second = b'{"vector": [1, 0, 0]}'
            first = b'{"filter": {"a": 1}, '
            writer.write(f"POST {p.similars} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {u.key}\r\nConnection: close\r\nContent-Length: {len(first + second)}\r\n\r\n".encode() + first)
            await asyncio.sleep(1.5)
            writer.write(second)
            got = await asyncio.wait_for(reader.read(), 10)
            print(got)
            assert b" 408 " in got.split(b"\r\n")[0]


async def test_system_survives_reset(new_database):
    from tests.conftest import serving, settings_for
    async with serving(settings_for(new_database(), service_indexer=False)) as base, httpx2.AsyncClient(base_url=base) as api:
        r = await api.put("/v1/llm-instances/_system/abc", json={"instance_handle": "abc", "dimensions": 3, "api_key": "sk"}, headers=ADMIN)
        print(r.status_code, r.text)
        r = await api.put("/v1/projects/_system/ppp", json={"project_handle": "ppp", "instance_handle": "abc"}, headers=ADMIN)
        print(r.status_code, r.text)
        r = await api.post("/v1/admin/reset", json={"confirm": "delete all data"}, headers=ADMIN)
        print(r.status_code)
        print((await api.get("/v1/projects/_system/ppp", headers=ADMIN)).text, (await api.get("/v1/llm-instances/_system/abc", headers=ADMIN)).text)
        assert (await api.get("/v1/llm-instances/_system/abc", headers=ADMIN)).status_code == 404


def test_url_leak(tmp_path):
    from tests.processes import command
    bad = ["postgres:/u:s3cret@h/db", "postgresql://u:s3cret@h:port/db", "postgresql://u:s3cret@h/db?nope=1", "mysql://u:s3cret@h/db", "u:s3cret@h/db", "postgresql://u:s3cret@[h/db", "postgresql://u:s3c%zzret@h/db", "postgresql://u:s3cret@127.0.0.1:1/db", "host=h password=s3cret nope=1"]
    leaks = []
    for url in bad:
        for cmd in (["serve"], ["migrate"], ["keys", "status"], ["index", "--once"]):
            r = command(*cmd, cwd=tmp_path, SERVICE_DATABASE_URL=url, SERVICE_ADMINKEY=ADMIN_KEY, ENCRYPTION_KEY=ENCRYPTION_KEY)
            out = r.stdout + r.stderr
            print(url, cmd, r.returncode, out[-300:])
            if "s3c" in out:
                leaks.append((url, cmd))
            if "Traceback" in out:
                leaks.append(("trace", url, cmd))
    assert leaks == []
