"""A real browser on the explorer's page: find one, start the page, act on it as a person does."""

import io
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

ROOT = Path(__file__).resolve().parents[1]
NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome", "msedge")
FLAGS = (
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"),
    *("--disable-background-networking", "--disable-component-update"),
)
# milliseconds; far above what is needed, for machines that do something else at the same time
READY = 120_000  # until a page gives its first answer
PATIENCE = 20_000  # until a notebook's cells are run once more
SOON = 60_000  # until it gives another


def find():
    """Return the browser's program, or skip the test and say what is missing."""
    for module in ("playwright", "voila"):
        need(module)
    program = os.environ.get("DDLIB_BROWSER") or next(filter(None, map(shutil.which, NAMES)), None)
    if program is None:
        pytest.skip(
            "no browser is installed (Debian: apt-get install chromium); or set DDLIB_BROWSER"
        )
    return program


def need(module):
    """Skip the test where a package of the extra `browser` is missing."""
    pytest.importorskip(module, reason=f"needs {module}: pip install 'ddlib[browser]'")


def explorer_page(data, runs):
    """Serve the explorer on loopback; give its address."""
    command = ["ddlib", "explore", "--no-browser", "--data", str(data), "--runs", str(runs)]
    return _serving(command, Path(runs) / "page.log")


def jupyter(program, folder):
    """Serve a folder's notebooks with "jupyterlab", or with "notebook"; give its address."""
    command = [
        *(program, "--no-browser", "--allow-root", "--ServerApp.ip=127.0.0.1"),
        *("--IdentityProvider.token=", f"--ServerApp.root_dir={folder}"),
        "--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate",  # asks no other server
    ]
    settings = Path(folder).with_name("settings")  # none of the user's own
    folders = {f"JUPYTER_{name}_DIR": str(settings / name) for name in ("CONFIG", "DATA")}
    environment = {**os.environ, **folders, "PYTHONPATH": str(ROOT)}
    return _serving(command, Path(folder) / "jupyter.log", environment)


@contextmanager
def _serving(command, log, environment=None):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", *command, f"--port={port}"]
    with log.open("w") as told:
        server = subprocess.Popen(
            command, cwd=ROOT, env=environment, stdout=told, stderr=subprocess.STDOUT
        )
        try:
            address = f"http://127.0.0.1:{port}/"
            _until_it_answers(f"{address}favicon.ico", server, log)
            yield address
        finally:
            server.terminate()
            server.wait(30)


def _until_it_answers(address, process, log, seconds=READY // 1000):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        assert process.poll() is None, log.read_text()
        try:
            urllib.request.urlopen(address, timeout=5).close()
            return
        except urllib.error.HTTPError:
            return
        except OSError:
            time.sleep(0.2)
    raise AssertionError(f"the server did not start in {seconds} s: {log.read_text()}")


class Explorer:
    """The page, in the words of what is on it."""

    def __init__(self, page):
        self.page = page
        page.set_default_timeout(SOON)
        self.complaints = []
        page.on("console", lambda m: m.type == "error" and self.complaints.append(m.text))
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.on("requestfailed", self._failed)

    def _failed(self, request):
        if not request.url.startswith("blob:"):  # an overtaken picture is let go while it loads
            self.complaints.append(request.url)

    def open(self, address):
        self.page.goto(address, timeout=READY)
        self.appear()

    def run_notebook(self):
        """Run all cells of the notebook that JupyterLab or Notebook 7 has open."""
        idle = ".jp-Notebook-ExecutionIndicator[data-status=idle]"
        for _ in range(READY // PATIENCE):
            self.page.wait_for_selector(idle, timeout=READY)
            for entry in ("Run", "Run All Cells"):
                self.page.get_by_role("menuitem", name=entry, exact=True).click()
            with suppress(Exception):  # a kernel that has just come up drops what it is told to run
                self.page.wait_for_selector(".ddlib-verdict", timeout=PATIENCE)
                break
        self.appear()

    def appear(self):
        self.page.wait_for_selector(".ddlib-verdict", timeout=READY)
        self.page.wait_for_selector(".ddlib-picture", timeout=READY)
        self.settle()

    @property
    def verdict(self):
        return self.page.inner_text(".ddlib-explorer [role=status]")

    @property
    def score(self):
        return float(self.verdict.split("P(fake) ")[1].split()[0].rstrip(".;"))

    def picture(self):
        """Return what the picture shows, (H, W, 3), as the browser received it."""
        script = """async () => {
            const answer = await fetch(document.querySelector('.ddlib-picture').src);
            return Array.from(new Uint8Array(await answer.arrayBuffer()));
        }"""
        content = bytes(self.page.evaluate(script))
        return np.asarray(Image.open(io.BytesIO(content)).convert("RGB")).astype(int)

    @contextmanager
    def changing(self):
        """Wait at the end of the block until the picture is another one."""
        source = "document.querySelector('.ddlib-picture').src"
        before = self.page.evaluate(source)
        yield
        self.page.wait_for_function(f"was => {source} !== was", arg=before, timeout=SOON)
        self.settle()

    def settle(self):
        """Wait until nothing on the page has moved for a while."""
        last, same = None, 0
        while same < 3:
            self.page.wait_for_timeout(120)
            script = "document.querySelector('.ddlib-explorer').innerHTML"
            now = self.page.evaluate(script)
            last, same = now, same + 1 if now == last else 0

    def slide(self, name, *keys):
        """Press keys on a slider, found by its words."""
        box = self.page.locator(".widget-slider", has=self.page.locator(f"label:text-is('{name}')"))
        handle = box.locator("[role=slider]").first
        handle.focus()
        for key in keys:
            handle.press(key)

    @property
    def zone(self):
        """Where files are dropped."""
        return self.page.get_by_role("button", name="Drop a picture of your own here")

    def choose_file(self, *paths, open_dialog=None):
        for left in (2, 1, 0):  # a busy browser may forget that a person asked for the dialog
            try:
                with self.page.expect_file_chooser(timeout=PATIENCE) as chooser:
                    (open_dialog or self.zone.click)()
                break
            except Exception:
                if not left:
                    raise
        chooser.value.set_files(paths)

    def drop_file(self, *paths):
        self.drag(paths, "dragEnter", "dragOver", "drop")

    def drag(self, paths, *steps, onto=None):
        """Move files from outside the browser over the zone or another place."""
        box = (onto or self.zone).bounding_box()
        place = {"x": box["x"] + box["width"] / 2, "y": box["y"] + box["height"] / 2}
        data = {"items": [], "files": [str(path) for path in paths], "dragOperationsMask": 1}
        session = self.page.context.new_cdp_session(self.page)
        for step in steps:
            session.send("Input.dispatchDragEvent", {"type": step, **place, "data": data})
        session.detach()

    def told(self):
        """Return the sentence that says what went wrong."""
        return self.page.wait_for_selector(".ddlib-error").inner_text()
