"""Just enough of the W3C WebDriver protocol to drive a headless Chromium."""

import contextlib
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
CHROMEDRIVER = shutil.which("chromedriver")


class Browser:
    """One window."""

    def __init__(self, http: httpx2.Client, session: str) -> None:
        self._http = http
        self._session = session

    def call(self, method: str, path: str, **body: Any) -> Any:
        """A command of the protocol; returns its value."""
        sent = None if method == "GET" else body
        answer = self._http.request(method, f"/session/{self._session}{path}", json=sent)
        value = answer.json()["value"]
        assert answer.status_code == 200, value
        return value

    def run(self, script: str, *arguments: Any) -> Any:
        """What a script in the page returns."""
        return self.call("POST", "/execute/sync", script=script, args=list(arguments))

    def wait_for(self, script: str, *arguments: Any, seconds: float = 15) -> Any:
        """What a script returns, once that is true."""
        deadline = time.monotonic() + seconds
        while not (found := self.run(script, *arguments)):
            assert time.monotonic() < deadline, f"not in time: {script}"
            time.sleep(0.1)
        return found

    def logs(self) -> list[dict[str, Any]]:
        """What the page has logged, network failures and refused loads among it."""
        logged: list[dict[str, Any]] = self.call("POST", "/se/log", type="browser")
        return logged


@contextlib.contextmanager
def browser(folder: Path) -> Iterator[Browser]:
    """A headless Chromium with a profile of its own in `folder`."""
    assert CHROMIUM
    assert CHROMEDRIVER
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    driver = subprocess.Popen(
        [CHROMEDRIVER, f"--port={port}"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=folder
    )
    flags = [
        *("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"),
        *("--disable-background-networking", "--disable-component-update", "--disable-dev-shm-usage"),
        f"--user-data-dir={folder / 'profile'}",
    ]
    options = {"binary": CHROMIUM, "args": flags}
    wanted = {"goog:chromeOptions": options, "goog:loggingPrefs": {"browser": "ALL"}}
    try:
        with httpx2.Client(base_url=f"http://127.0.0.1:{port}", timeout=60) as http:
            deadline = time.monotonic() + 20
            while True:
                with contextlib.suppress(httpx2.TransportError):
                    if http.get("/status").json()["value"]["ready"]:
                        break
                assert time.monotonic() < deadline
                time.sleep(0.1)
            made = http.post("/session", json={"capabilities": {"alwaysMatch": wanted}}).json()["value"]
            window = Browser(http, made["sessionId"])
            try:
                yield window
            finally:
                window.call("DELETE", "")
    finally:
        driver.terminate()
        driver.wait(20)
