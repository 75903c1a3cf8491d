"""A real browser on the explorer's page: find one, start the page, act on it as a person does."""

import os
import shutil
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome", "msedge")
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
READY = 300  # seconds until a page gives its first answer; far above what is needed
SOON = 60_000  # milliseconds until it gives another


def find():
    """Return the browser's program, or skip the test and say what is missing."""
    for module in ("playwright", "voila"):
        pytest.importorskip(module, reason=f"needs {module}: pip install '.[browser]'")
    program = os.environ.get("DDLIB_BROWSER") or next(filter(None, map(shutil.which, NAMES)), None)
    if program is None:
        pytest.skip("no browser is installed (Debian: apt-get install chromium; DDLIB_BROWSER)")
    return program


@contextmanager
def explorer_page(data, runs, *options):
    """Serve the explorer, to somebody whose settings ask for no token; give its address."""
    command = [sys.executable, "-m", "ddlib", "explore", "--no-browser", *options]
    command += ["--data", str(data), "--runs", str(runs)]
    (runs / "settings").mkdir(exist_ok=True)
    (runs / "settings" / "voila.json").write_text('{"Voila": {"token": ""}}')
    settings = {"JUPYTER_CONFIG_DIR": str(runs / "settings")}
    with serving(command, runs / "page.log", settings) as log:
        words = wait_for(log, "The explorer is at ")
        yield words.split()[4]


@contextmanager
def jupyter(folder, port):
    """Serve a folder's notebooks with JupyterLab; give its address."""
    command = [sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root", f"--port={port}"]
    command += ["--ServerApp.ip=127.0.0.1", "--IdentityProvider.token=secret"]
    command += [f"--ServerApp.root_dir={folder}"]
    command += ["--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate"]
    settings = {f"JUPYTER_{name}_DIR": f"{folder}-settings" for name in ("CONFIG", "DATA")}
    with serving(command, folder / "jupyter.log", settings) as log:
        wait_for(log, "is running at")
        yield f"http://127.0.0.1:{port}/"


@contextmanager
def serving(command, log, settings):
    """Run a server until the block ends; give the file of what it says."""
    with log.open("w") as told:
        here = {"PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"}
        both = {"stdout": told, "stderr": subprocess.STDOUT}
        server = subprocess.Popen(command, cwd=ROOT, env=os.environ | here | settings, **both)
        try:
            yield log
        finally:
            server.terminate()
            server.wait(30)


def wait_for(log, words):
    """Return the line of a log that holds these words, once it is there."""
    end = time.monotonic() + READY
    while time.monotonic() < end:
        for line in log.read_text().splitlines():
            if words in line:
                return line
        time.sleep(0.2)
    raise AssertionError(f"the server did not start in {READY} s: {log.read_text()}")


class Page:
    """The explorer's page, in the words of what is on it."""

    def __init__(self, page):
        self.page = page
        page.set_default_timeout(SOON)
        self.complaints = []
        page.on("console", lambda m: m.type == "error" and self.complaints.append(m.text))
        page.on("pageerror", lambda error: self.complaints.append(str(error)))

    def wait_until_shown(self):
        self.page.wait_for_selector(".ddlib-bar", timeout=1000 * READY)
        self.settle()

    @property
    def verdict(self):
        return self.page.inner_text(".ddlib-explorer [role=status]")

    @property
    def score(self):
        return float(self.verdict.split("P(fake) ")[1].split()[0].rstrip(".;"))

    def images(self):
        """Return where the shown panels' images come from: another image is another address."""
        return self.page.evaluate(
            "[...document.querySelectorAll('.ddlib-panels img')]"
            ".filter((image) => image.offsetParent).map((image) => image.src)"
        )

    @contextmanager
    def changing(self):
        """Wait at the end of the block until the page has changed and then stood still."""
        before = self.content()
        yield
        end = time.monotonic() + SOON / 1000
        while self.content() == before:
            assert time.monotonic() < end, "nothing changed"
            self.page.wait_for_timeout(50)
        self.settle()

    def content(self):
        """Return a number for what is there: the text itself holds megabytes of images."""
        return self.page.evaluate(
            "() => { const text = document.querySelector('.ddlib-explorer').innerHTML; let sum = 0;"
            "for (let i = 0; i < text.length; i++) sum = (31 * sum + text.charCodeAt(i)) | 0;"
            "return sum }"
        )

    def settle(self):
        """Wait until nothing on the page has moved for a while."""
        last, same = None, 0
        while same < 4:
            self.page.wait_for_timeout(120)
            now = self.content()
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

    def drop(self, *paths):
        """Move files from outside the browser onto the zone."""
        box = self.zone.bounding_box()
        place = {"x": box["x"] + box["width"] / 2, "y": box["y"] + box["height"] / 2}
        data = {"items": [], "files": [str(path) for path in paths], "dragOperationsMask": 1}
        session = self.page.context.new_cdp_session(self.page)
        for step in ("dragEnter", "dragOver", "drop"):
            session.send("Input.dispatchDragEvent", {"type": step, **place, "data": data})
        session.detach()

    def told(self, words):
        """Wait for the sentence that says what went wrong."""
        self.page.wait_for_selector(f".ddlib-error:has-text('{words}')")
