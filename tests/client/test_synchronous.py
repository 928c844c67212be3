"""The synchronous client: the same, from threads, from programs with a running loop, and until Ctrl-C."""

import asyncio
import gc
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from typing import TypeVar

import pytest
from vecferry import AsyncClient, Client, ConnectionFailed, NotFound, Progress

from tests.client.samples import chunks, rows
from tests.conftest import ADMIN_KEY
from tests.support.faulty_proxy import Fault, faulty_proxy
from tests.support.processes import ROOT

User = tuple[str, str]
T = TypeVar("T")


def threads() -> int:
    return sum(thread.name.startswith("vecferry") for thread in threading.enumerate())


async def elsewhere(function: Callable[[], T]) -> T:
    """Runs it in a thread: the service runs in this one."""
    return await asyncio.to_thread(function)


async def test_everything_in_one_thread(service_url: str, user: User, project: str) -> None:
    def use() -> None:
        told: list[Progress] = []
        with Client(service_url, user[1]) as client:
            assert client.users.get(user[0]).user_handle == user[0]
            poems = client.project(project)
            assert repr(poems) == f"Project('{project}')"
            assert poems.upload_rows(chunks(3000, 500), progress=told.append).inserted == 3000
            part = rows(500)
            assert poems.upload(part.vectors, ids=part.ids).unchanged == 500
            assert [one.text_id for one in poems.embeddings][:500] == part.ids
            assert client.embeddings(project).get(part.ids[0]).text_id == part.ids[0]
            assert poems.search_many(part.vectors, limit=1).arrays()[0][:, 0].tolist() == part.ids
            assert poems.similar(id=part.ids[0], limit=3, threshold=-1).arrays()[1].shape == (3,)
            assert poems.embeddings.delete(ids=part.ids).deleted == 500
            assert [one.project_handle for one in client.projects.list(user[0])] == ["poems"]
            with pytest.raises(NotFound):
                client.project(f"{user[0]}/none").get()
        assert told[-1].stored == 3000
        with pytest.raises(RuntimeError, match="The client is closed"):
            client.users.get(user[0])
        client.close()  # again

    before = threads()
    await elsewhere(use)
    assert threads() <= before  # those of earlier tests may have ended, too


async def test_where_a_loop_runs_already(service_url: str, user: User, project: str) -> None:
    """As in a notebook, also within a coroutine."""

    async def cell() -> int:
        with Client(service_url, user[1]) as client:
            return client.project(project).upload_rows(chunks(500, 500)).inserted

    assert await elsewhere(lambda: asyncio.run(cell())) == 500


async def test_a_client_that_nobody_closes_leaves_no_thread(service_url: str) -> None:
    before = threads()

    def use() -> None:
        assert list(Client(service_url, ADMIN_KEY).users.list())

    await elsewhere(use)
    gc.collect()
    async with asyncio.timeout(30):
        while threads() > before:
            await asyncio.sleep(0.05)


async def test_several_threads_share_a_client(service_url: str, user: User) -> None:
    with Client(service_url, user[1]) as client:
        many = await asyncio.gather(*(elsewhere(lambda: client.users.get(user[0])) for _ in range(20)))
    assert {one.user_handle for one in many} == {user[0]}


async def test_errors_come_out_as_they_are(service_url: str) -> None:
    async with faulty_proxy(service_url, lambda head: Fault(cut_answer=5)) as url:
        client = Client(url, ADMIN_KEY, retries=0)
        with pytest.raises(ConnectionFailed, match="No answer from "):
            await elsewhere(lambda: client.users.get("alice"))
        await elsewhere(client.close)


ENDLESS = """
import sys, time
from vecferry import Client
from tests.client.samples import rows

def endless():
    for start in range(0, 10**9, 3000):
        yield rows(3000, start=start)
        if start:
            print("waits", flush=True)
            time.sleep(1000)

try:
    with Client(sys.argv[1], sys.argv[2]) as client:
        client.project(sys.argv[3]).upload_rows(endless())
except KeyboardInterrupt:
    print("interrupted")
"""


@pytest.mark.slow
async def test_ctrl_c_ends_an_upload_that_waits_for_its_source(
    service_url: str, user: User, client: AsyncClient, project: str
) -> None:
    command = [sys.executable, "-c", ENDLESS, service_url, user[1], project]
    process = await asyncio.create_subprocess_exec(
        *command, cwd=ROOT, env={"PYTHONPATH": f"{ROOT}:{ROOT / 'client'}"}, stdout=subprocess.PIPE
    )
    assert process.stdout is not None
    assert await process.stdout.readline() == b"waits\n"
    async with asyncio.timeout(30):
        while ((await client.project(project).get()).number_of_embeddings or 0) < 2000:
            await asyncio.sleep(0.05)
    began = time.monotonic()
    process.send_signal(signal.SIGINT)
    assert await process.communicate() == (b"interrupted\n", None)
    assert time.monotonic() - began < 60  # the source waits for a thousand


LARGE = """
import resource, sys
from vecferry import Client
from tests.client.samples import chunks

with Client(sys.argv[1], sys.argv[2]) as client:
    project = client.project(sys.argv[3])
    project.upload_rows(chunks(3000, 1000, text_size=4000))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(project.upload_rows(chunks(75_000, 1000, text_size=4000)).bytes_sent)
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


@pytest.mark.slow
async def test_memory_is_bounded(service_url: str, user: User, project: str) -> None:
    """200 MB are sent within some bodies of at most 8 MiB."""
    command = [sys.executable, "-c", LARGE, service_url, user[1], project]
    process = await asyncio.create_subprocess_exec(
        *command, cwd=ROOT, env={"PYTHONPATH": f"{ROOT}:{ROOT / 'client'}"}, stdout=subprocess.PIPE
    )
    output, _ = await process.communicate()
    sent, more_kib = map(int, output.split())
    assert sent > 200_000_000
    assert more_kib < 100_000
