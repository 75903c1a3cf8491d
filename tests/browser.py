"""A real browser on the explorer's page: find one, start the page, act on it as a person does."""

import io
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from contextlib import contextmanager
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
READY = 120_000  # milliseconds that the page may take until its first answer


def find():
    """Return the browser's program, or skip the test and say what is missing."""
    for module in ("playwright", "voila"):
        pytest.importorskip(module, reason=f"needs {module}: pip install 'ddlib[browser]'")
    program = os.environ.get("DDLIB_BROWSER") or next(filter(None, map(shutil.which, NAMES)), None)
    if program is None:
        pytest.skip(
            "no browser is installed (Debian: apt-get install chromium); or set DDLIB_BROWSER"
        )
    return program


@contextmanager
def explorer_page(data, runs):
    """Serve the explorer on loopback; give its address."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "ddlib", "explore", "--no-browser", "--port", str(port)]
    command += ["--data", str(data), "--runs", str(runs)]
    log = Path(runs) / "page.log"
    with log.open("w") as told:
        page = subprocess.Popen(command, cwd=ROOT, stdout=told, stderr=subprocess.STDOUT)
        try:
            address = f"http://127.0.0.1:{port}/"
            _until_it_answers(f"{address}voila/static/favicon.ico", page, log)
            yield address
        finally:
            page.terminate()
            page.wait(30)


def _until_it_answers(address, process, log, seconds=90):
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
    raise AssertionError(f"the page did not start in {seconds} s: {log.read_text()}")


class Explorer:
    """The page, in the words of what is on it."""

    def __init__(self, page):
        self.page = page
        self.complaints = []
        page.on("console", lambda m: m.type == "error" and self.complaints.append(m.text))
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.on("requestfailed", self._failed)

    def _failed(self, request):
        if not request.url.startswith("blob:"):  # an overtaken picture is let go while it loads
            self.complaints.append(request.url)

    def open(self, address):
        self.page.goto(address, timeout=READY)
        self.page.wait_for_selector(".ddlib-verdict", timeout=READY)
        self.page.wait_for_selector(".ddlib-picture", timeout=READY)

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
        self.page.wait_for_function(f"was => {source} !== was", arg=before, timeout=20_000)
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

    def choose_file(self, path):
        with self.page.expect_file_chooser() as chooser:
            self.page.get_by_role("button", name="Own picture").click()
        chooser.value.set_files(path)
