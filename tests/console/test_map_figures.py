"""How fast a map of 100,000 points moves, and pictures of real data; with WRITE_FIGURES both go into docs/console/."""

import asyncio
import base64
import contextlib
import json
import os
import signal
from pathlib import Path

import httpx2
import numpy as np
import pytest
from playwright.async_api import expect

from tests.console.test_map import made_map, shown
from tests.support.browser import NEEDS_CHROMIUM, Console
from tests.support.world import Headers, project, row, upload, user

pytestmark = [pytest.mark.slow, NEEDS_CHROMIUM]

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs" / "console"
DATA = ROOT.parent / "shared" / "data" / "minilm-384.npz"
ROWS = 100_200
# Moves and zooms in each frame, and counts those that were drawn, and the points in each; then waits for all points.
FRAMES = """async (canvas, time) => {
  const before = Number(canvas.dataset.drawn);
  const parts = [];
  const start = performance.now();
  for (let n = 0; performance.now() - start < time; n++) {
    const key = ["ArrowLeft", "+", "ArrowUp", "ArrowRight", "-", "ArrowDown"][n % 6];
    canvas.dispatchEvent(new KeyboardEvent("keydown", { key }));
    await new Promise(requestAnimationFrame);
    parts.push(Number(canvas.dataset.points));
  }
  const wait = () => canvas.getContext("webgl2").readPixels(0, 0, 1, 1, 6408, 5121, new Uint8Array(4)); // until drawn
  wait();
  const end = performance.now();
  const a_second = Math.round((10000 * (canvas.dataset.drawn - before)) / (end - start)) / 10;
  const points = Number(canvas.getAttribute("aria-label").match(/Map of ([\\d,]+)/)[1].replace(",", ""));
  while (Number(canvas.dataset.points) < points && performance.now() - end < 10000)
    await new Promise(requestAnimationFrame);
  wait();
  const all_after_ms = Math.round(performance.now() - end);
  const drawn_of_them = parts.sort((one, other) => one - other)[Math.floor(parts.length / 2)];
  return { points, a_second, drawn_of_them, all_after_ms, width: canvas.width, height: canvas.height };
}"""


def end_map_process() -> None:
    """Ends the process that computes the map, a child of this one, which has the service within it."""
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):  # it has ended just now
            if (
                f"PPid:\t{os.getpid()}\n" in (folder / "status").read_text()
                and b"maps" in (folder / "cmdline").read_bytes()
            ):
                os.kill(int(folder.name), signal.SIGKILL)


@pytest.mark.alone
async def test_frames_a_second_with_100_000_points(console: Console, http: httpx2.AsyncClient, admin: Headers) -> None:
    """Chromium draws by the processor here: a movement stays smooth with some of the points, and ends with all."""
    ada = await user(http, admin)
    made = await project(http, ada)
    drawn = np.random.default_rng(1).normal(0, 1, (ROWS, 3)) + np.repeat(np.eye(3) * 6, -(-ROWS // 3), axis=0)[:ROWS]
    for first in range(0, ROWS, 10_000):
        some = [row(f"{n}", drawn[n].round(3).tolist()) for n in range(first, min(first + 10_000, ROWS))]
        await upload(http, made, *some)
    await made_map(http, made, "pca", limit=1)
    canvas = await shown(console, made, "?method=pca&colour=none", ada.key)
    await expect(console.page.get_by_text("A sample of 100,000 of 100,200 texts")).to_be_visible(timeout=60_000)
    # The other method, which takes both processors for minutes, need not be computed meanwhile.
    assert (await http.delete(made.path, headers=ada.headers)).status_code == 204
    await asyncio.to_thread(end_map_process)
    await asyncio.sleep(5)
    frames = await canvas.evaluate(FRAMES, 5000)
    if "WRITE_FIGURES" in os.environ:
        (DOCS / "frames.json").write_text(json.dumps(frames) + "\n")
    assert frames["points"] == 100_000
    assert frames["a_second"] > 20
    assert frames["drawn_of_them"] >= 5000  # the least that is ever drawn
    assert frames["all_after_ms"] < 2000
    idle = await canvas.get_attribute("data-drawn")
    await asyncio.sleep(1)
    assert await canvas.get_attribute("data-drawn") == idle  # nothing is drawn while nothing changes


@pytest.mark.timeout(600)
@pytest.mark.skipif(not DATA.exists(), reason="LEFT OUT: pictures of real data; it is not here")
async def test_neighbours_in_real_data_stay_together_on_the_map(
    console: Console, http: httpx2.AsyncClient, admin: Headers
) -> None:
    """Descriptions of packages, by both methods; neighbours stay together far better by the second."""
    vectors = np.load(DATA)["vectors"]
    lines = DATA.with_suffix(".jsonl").read_text().splitlines()
    about = [json.loads(line) for line in lines[: None if "WRITE_FIGURES" in os.environ else 2000]]
    ada = await user(http, admin)
    made = await project(http, ada, dimensions=384)
    for first in range(0, len(about), 2000):
        some = [
            {**about[n], "vector": base64.b64encode(vectors[n].tobytes()).decode()}
            for n in range(first, min(first + 2000, len(about)))
        ]
        answer = await http.post(made.embeddings, json={"encoding": "f2", "embeddings": some}, headers=ada.headers)
        assert answer.status_code == 201, answer.text
    quality = (await made_map(http, made, "neighbours", limit=1))["trustworthiness"]
    assert quality["value"] > 0.9 > quality["pca"]
    await console.page.set_viewport_size({"width": 1000, "height": 800})
    await shown(console, made, "?method=pca", ada.key)
    for method in ("pca", "neighbours"):
        canvas = await shown(console, made, f"?method={method}")
        await expect(
            console.page.get_by_text(f"Trustworthiness at 10: {quality['pca' if method == 'pca' else 'value']:.3f}")
        ).to_be_visible()
        picture = await canvas.screenshot()
        assert len(picture) > 50_000  # something is drawn
        if "WRITE_FIGURES" in os.environ:
            (DOCS / f"map-{method}.png").write_bytes(picture)
