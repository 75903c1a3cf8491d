"""Trials that take minutes: kills, races, a full disk, hostile pictures; each round another seed.

    python -m tests.trials [--seed 0] [--rounds 1] [WORD ...]        (make trials)

After every trial: no traceback, no process left, no picture lost from the output, and the next run
heals. Prints a table and ends with 1 if a trial failed.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pandas as pd
import psutil
from PIL import Image

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests"))

DDLIB = [sys.executable, "-m", "ddlib"]
SMALL_STUDY = ["run", "00", "02", "--small"]  # simulated images, two small models
LIMIT = 1800  # seconds for one command, on a machine that does other things too
KILLS = 7  # of a run, of a fetch, and of releases; --kills


def run(*words, place: Path, **options) -> subprocess.CompletedProcess:
    """Run a command of ddlib to its end, with a home and a cache below `place`."""
    options = {"capture_output": True, "text": True, "timeout": LIMIT} | options
    return subprocess.run([*DDLIB, *map(str, words)], env=environment(place), **options)


def environment(place: Path) -> dict[str, str]:
    """Return an environment in which everything is written below `place`."""
    own = {
        "HOME": str(place / "home"),
        "DDLIB_CACHE": str(place / "cache"),
        "PYTHONPATH": str(ROOT),
    }
    return os.environ | own


def pictures(folder: Path, n: int = 12) -> list[Path]:
    """Write n sound pictures of each class, as real/ and fake/drawn/."""
    rng, paths = np.random.default_rng(0), []
    for label in ("real", "fake/drawn"):
        (folder / label).mkdir(parents=True)
        for i in range(n):
            grain = rng.normal(120, 40, (96, 96, 3)).clip(0, 255).astype("uint8")
            paths.append(folder / label / f"{i:02d}.jpg")
            Image.fromarray(grain).save(paths[-1], quality=90)
    return paths


def killed(words: list[str], seconds: float, place: Path) -> None:
    """Start a command, end its process alone with SIGKILL, and wait until its children are gone.

    Raises
    ------
    AssertionError
        If a child still lives after 30 seconds.
    """
    process = psutil.Popen(
        [*DDLIB, *words],
        env=environment(place),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    family, end = {process}, time.monotonic() + seconds
    while time.monotonic() < end and process.poll() is None:
        family |= set(process.children(recursive=True))
        time.sleep(0.05)
    with_children = (
        family | set(process.children(recursive=True)) if process.poll() is None else family
    )
    process.send_signal(signal.SIGKILL) if process.poll() is None else None
    process.wait()
    _, alive = psutil.wait_procs(with_children - {process}, timeout=30)
    assert not alive, f"still alive: {[' '.join(p.cmdline())[:80] for p in alive]}"


def trial_kills_of_a_run(rng: random.Random, place: Path) -> str:
    """Kill a run of notebooks at random moments; the next one finds what one undisturbed finds."""
    for _ in range(KILLS):
        killed([*SMALL_STUDY, "--runs", str(place / "runs")], rng.uniform(1, 60), place)
    found, expected = study_tables(place), undisturbed_tables()
    for name in expected.keys() | found.keys():
        pd.testing.assert_frame_equal(found[name], expected[name], check_exact=True)
    return f"{KILLS} kills, {sum(map(len, found.values()))} rows in {len(found)} tables equal"


def study_tables(place: Path) -> dict[str, pd.DataFrame]:
    """Run the small study to its end and return its results and scores by name of the file."""
    done = run(*SMALL_STUDY, "--runs", str(place / "runs"), place=place)
    assert done.returncode == 0 and "Traceback" not in done.stderr, done.stderr[-500:]
    folder = place / "runs" / "simulated-small"
    files = [folder / "results.csv", *folder.glob("models/*/scores.csv")]
    tables = {file.relative_to(folder).as_posix(): pd.read_csv(file) for file in files}
    return {name: table.drop(columns="seconds", errors="ignore") for name, table in tables.items()}


@cache
def undisturbed_tables() -> dict[str, pd.DataFrame]:
    """Return what the small study finds where nothing is killed."""
    with tempfile.TemporaryDirectory(prefix="trial-") as folder:
        return study_tables(Path(folder))


def trial_kills_of_a_check(rng: random.Random, place: Path) -> str:
    """Kill `data check` while it reads; the next one says the same as one never disturbed."""
    pictures(place / "data", 60)
    words = ["data", "check", str(place / "data")]
    expected = run(*words, place=place).stdout
    for _ in range(6):
        shutil.rmtree(place / "cache", ignore_errors=True)
        killed(words, rng.uniform(0.1, 2), place)
        found = run(*words, place=place)
        assert (found.returncode, found.stdout) == (0, expected), found.stdout + found.stderr
    return "6 kills"


def trial_three_at_once_on_one_cache(rng: random.Random, place: Path) -> str:
    """Three processes prepare the same pictures in one small cache and find the same pixels."""
    pictures(place / "data", 40)
    code = (
        "import hashlib, sys; from ddlib import open_folder, preset\n"
        "from ddlib.data.loader import load_images\n"
        "rows = load_images(open_folder(sys.argv[1]), preset('clean', image_size=128))\n"
        "print(hashlib.sha256(rows.take(slice(None)).tobytes()).hexdigest())"
    )
    command = [sys.executable, "-c", code, str(place / "data")]
    for limit in ("20", "0.005"):
        shutil.rmtree(place / "cache", ignore_errors=True)
        own = environment(place) | {"DDLIB_CACHE_GB": limit}
        three = [
            subprocess.Popen(
                command, env=own, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
            )
            for _ in range(3)
        ]
        told = [process.communicate(timeout=LIMIT) for process in three]
        assert len({out for out, _ in told}) == 1 and told[0][0], told
    return "2 x 3 processes"


def trial_hostile_pictures(rng: random.Random, place: Path) -> str:
    """Mutated pictures, each with a row: a score or an error; the JSON is whole."""
    from test_hostile_files import SAMPLES, mutated

    samples = [make() for make in SAMPLES.values()]
    (place / "hostile").mkdir()
    for i in range(500):
        content = mutated(samples[i % len(samples)], rng)
        (place / "hostile" / f"{i:03d}.jpg").write_bytes(content)
    done = run("predict", place / "hostile", "--json", place=place)
    rows = json.loads(done.stdout)["predictions"]
    bad = [row for row in rows if row.get("error")]
    assert len(rows) == 500 and "Traceback" not in done.stderr, done.stderr[-500:]
    assert done.returncode == bool(bad)
    return f"500 pictures, {len(bad)} with an error"


@contextmanager
def served(content: list[bytes], seconds: float = 0) -> Iterator[str]:
    """Give the address of a server on this machine that sends the last of `content`, slowly."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):  # noqa: N802
            data = content[-1]
            self.send_response(200)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            with suppress(OSError):  # the other end was killed
                for part in range(0, len(data), 1 + len(data) // 20):
                    self.wfile.write(data[part : part + 1 + len(data) // 20])
                    time.sleep(seconds / 20)

        def log_message(self, *words):
            """Print nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}/set.zip"
        server.shutdown()


def archived(place: Path, kind: str = "zip") -> tuple[bytes, dict[str, bytes]]:
    """Return an archive of pictures, and what it holds by name."""
    made = place / f"made-{kind}"
    pictures(made / "set", 20)
    packed = shutil.make_archive(str(place / "packed"), kind, made, "set")
    files = {path.relative_to(made).as_posix(): path for path in made.rglob("*.jpg")}
    return Path(packed).read_bytes(), {name: path.read_bytes() for name, path in files.items()}


def trial_damaged_archives(rng: random.Random, place: Path) -> str:
    """Mutated archives: one error that leaves nothing behind, or every file as it was."""
    import pooch
    from test_hostile_files import mutated

    from ddlib.data.download import FetchError, fetch_archive

    pooch.get_logger().setLevel("WARNING")  # it tells of each download
    kinds, content, refused = [archived(place, kind) for kind in ("zip", "gztar", "xztar")], [], 0
    with served(content) as address:
        for i in range(30):
            whole, files = kinds[i % 3]
            content.append(mutated(whole, rng))
            folder = place / "fetched" / "set"
            try:
                fetch_archive(address, folder)
            except FetchError:
                refused += 1
            else:
                found = {name: (folder / name).read_bytes() for name in files}
                assert found == files, "other content under the name of a file"
                shutil.rmtree(folder)
            assert not list((place / "fetched").iterdir()), "something was left"
    return f"30 archives, {refused} refused"


def trial_kills_of_a_fetch(rng: random.Random, place: Path) -> str:
    """Kill `data fetch` at random moments; the next one brings every file and leaves no other."""
    whole, files = archived(place)
    with served([whole], seconds=2) as address:
        words = ["data", "fetch", "cats", "--accept", "--url", address]
        words += ["--data", str(place / "data")]
        for _ in range(KILLS):
            killed(words, rng.uniform(0.5, 6), place)
        done = run(*words, place=place)
    assert "Traceback" not in done.stderr, done.stderr[-500:]
    (folder,) = (place / "data").glob("*/set")
    found = {name: (folder.parent / name).read_bytes() for name in files}
    assert found == files and len(list(folder.rglob("*.jpg"))) == len(files)
    left = [path.name for path in (place / "data").iterdir() if "download" in path.name]
    assert not left, left
    return f"{KILLS} kills"


_RELEASES = """
import sys
from itertools import cycle
from pathlib import Path
import handmade, toydetector
from ddlib.deploy.export import convert
from ddlib.deploy.model_card import Card
from ddlib.deploy.release import write_release
models = [(t, handmade.detector(strength=t / 8)) for t in (1.0, 2.0)]
for t, model, content in cycle([(t, model, convert(model)) for t, model in models]):
    card = Card("small", toydetector.PROTOCOL, t, licence="MIT")
    write_release(model, content, card, Path(sys.argv[1]) / "small")
    print(t, flush=True)
"""


def trial_kills_of_a_release(rng: random.Random, place: Path) -> str:
    """Kill what releases again and again; card and model that are found belong together."""
    from ddlib.deploy.detector import open_detector

    own = environment(place)
    own["PYTHONPATH"] = os.pathsep.join((own["PYTHONPATH"], str(ROOT / "tests")))
    for _ in range(KILLS):
        process = subprocess.Popen(
            [sys.executable, "-c", _RELEASES, str(place)],
            env=own,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        assert process.stdout.readline(), "no release was written"
        time.sleep(rng.uniform(0, 1))
        process.kill()
        process.communicate()
        found = open_detector(place / "small" / "small.keras")
        strength = found.keras_model().get_layer("logit").get_weights()[0][0, 0]
        assert 8 * strength == found.temperature, "the card of another model"
        found.scorer(1)  # checks the hash
    return f"{KILLS} kills"


def trial_full_disk(rng: random.Random, place: Path) -> str:
    """Heat maps and a table onto a disk of 300 kB: an error, exit 1, and no file of 0 bytes."""
    sound = pictures(place / "data", 12)
    disk = place / "disk"
    disk.mkdir()
    words = [*DDLIB, "predict", *map(str, sound), "--cam", str(disk / "maps")]
    command = f"mount -t tmpfs -o size=300k none {disk} && {' '.join(words)}; status=$?; "
    command += f"find {disk} -type f -size 0 -print; exit $status"
    done = subprocess.run(
        ["unshare", "-m", "sh", "-c", command],
        env=environment(place),
        capture_output=True,
        text=True,
        timeout=LIMIT,
    )
    if "unshare" in done.stderr or "mount" in done.stderr:
        return "skipped: no right to mount here"
    assert done.returncode == 1 and "Traceback" not in done.stderr, done.stdout + done.stderr[-800:]
    assert str(disk / "maps") + "/" not in done.stdout.rpartition("\n\n")[2], "a file of 0 bytes"
    return "12 heat maps"


TRIALS = {
    name.removeprefix("trial_"): work
    for name, work in globals().items()
    if name.startswith("trial_")
}


def main() -> None:
    """Run the chosen trials and print their table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("words", nargs="*", help="only trials whose name holds one of these")
    parser.add_argument("--seed", type=int, default=int(time.time()))
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--kills", type=int, default=KILLS, help="of each of three commands")
    told = parser.parse_args()
    globals()["KILLS"] = told.kills
    rows = []
    for seed in range(told.seed, told.seed + told.rounds):
        for name in [n for n in TRIALS if any(word in n for word in told.words or [""])]:
            start = time.monotonic()
            with tempfile.TemporaryDirectory(prefix="trial-") as folder:
                try:
                    result = TRIALS[name](random.Random(seed), Path(folder))
                except Exception as error:  # whatever goes wrong is the result of the trial
                    result = f"FAILED: {error!r}"
            rows.append((seed, name.replace("_", " "), result, round(time.monotonic() - start)))
            print(*rows[-1], sep="  ", flush=True)
    table = pd.DataFrame(rows, columns=["seed", "trial", "result", "seconds"])
    raise SystemExit(int(table["result"].str.startswith("FAILED").any()))


if __name__ == "__main__":
    main()
