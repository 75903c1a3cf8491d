"""The offline source: a simulated data set with the study's classes, sizes and splits.

Simulated portraits are photographed by a simulated camera (real) or put through generator-like
decoders (fake); see `ddlib.data.simulate.portraits` and `ddlib.data.simulate.generators`. It teaches how a detector
behaves; it is never evidence about real generators. Size, format and JPEG quality have the same
distribution in both classes, unless the study's flaw is asked for.

The pictures of the simulated data set: which there are, and how one is made.

Every picture follows from (seed, its number) alone. Size, format and JPEG quality have the same
distribution in both classes, unless the study's flaw is asked for.
"""

from __future__ import annotations

from PIL import Image
from collections.abc import Callable
from dataclasses import asdict
from dataclasses import dataclass
from pathlib import Path
import hashlib
import io
import json
import numpy as np
import os
import pandas as pd
import shutil
import subprocess
import sys
import time
from ddlib.protocol import SIMULATE
from ddlib._io import file_lock, keep_freed_memory
from ddlib.data.simulate.cats import cat
from ddlib.data.simulate.generators import camera, gan_decoder, gan_upsampling, sd_decoder, vq_decoder
from ddlib.data.simulate.portraits import portrait



MARKER = "simulated.json"


_WORKER = {"OMP_NUM_THREADS": "1"}  # one thread a process


# pictures of each class by split: at 256 pixels (camera and GAN), at each SD size, and cats
COUNTS = {
    "train": {"gan": 320, "sd": 68, "cat": 0},
    "valid": {"gan": 48, "sd": 12, "cat": 0},
    "test": {"gan": 100, "sd": 34, "cat": 54},
}


SMALL = {
    "train": {"gan": 64, "sd": 9, "cat": 0},
    "valid": {"gan": 12, "sd": 3, "cat": 0},
    "test": {"gan": 20, "sd": 6, "cat": 8},
}


def make_simulated(
    root,
    counts=None,
    seed: int = 0,
    confounded: bool = False,
    small: bool = False,
    workers: int | None = None,
    progress: Callable[[int, int], None] | None = None,
):
    """Make the simulated data set under ``root``, or reuse it where it is already complete.

    Every picture follows from (seed, its number) alone, so any number of workers writes the same
    bytes. Pictures are made in a folder beside ``root`` that takes its place when all are there;
    an interrupted run goes on from the pictures whose digests still hold.

    Parameters
    ----------
    root : path
        A folder that does not exist, is empty, or was made by this function.
    counts : dict, optional
        Pictures of each class: {split: {"gan": n, "sd": n for each of three sizes, "cat": n}}.
    seed : int
    confounded : bool
        Ask for the study's flaw: all reals 256-pixel JPEG, SD fakes PNG at 512 to 1024 pixels.
    small : bool
        A tiny set with the same sources and splits, for quick checks.
    workers : int, optional
        Processes; as many as there are cores if None.
    progress : callable, optional
        Called with (pictures made, pictures wanted).

    Returns
    -------
    Manifest
        The table is ``manifest.csv``; ``faces.csv`` beside it holds path, face_x0, face_y0,
        face_x1 and face_y1 in pixels of the file.

    Raises
    ------
    ValueError
        If counts name an unknown split or class or are negative.
    FileExistsError
        If ``root`` holds something that this function did not make.
    """
    from ddlib.data.manifest import Manifest

    root = Path(root)
    counts = _check_counts(counts or (SMALL if small else COUNTS))
    settings = {
        "version": SIMULATE,
        "seed": int(seed),
        "confounded": bool(confounded),
        "counts": counts,
    }
    if _settings_of(root) != settings:
        with file_lock(root):
            if _settings_of(root) != settings:  # else another process has just made it
                _make(root, settings, workers or os.cpu_count() or 1, progress)
    return Manifest.load(root / "manifest.csv", root)


def _make(root: Path, settings: dict, workers: int, progress) -> None:
    _check_ours(root)
    staging = root.parent / f".{root.name}.unfinished"
    jobs = plan(*(settings[name] for name in ("counts", "seed", "confounded")))
    _prepare(staging, settings, jobs)
    _run(staging, jobs, workers, progress or (lambda done, wanted: None))
    _write_tables(staging, jobs)
    _put_in_place(staging, root, settings)


def _check_counts(counts) -> dict:
    """Return counts as plain ints, every split and class named."""
    for split, of in counts.items():
        if split not in COUNTS or set(of) - {"gan", "sd", "cat"} or min(of.values(), default=0) < 0:
            raise ValueError(
                f"counts[{split!r}]={of!r}: allowed are splits {', '.join(COUNTS)} "
                "with counts of gan, sd and cat from 0 up"
            )
    return {
        split: {kind: int(counts.get(split, {}).get(kind, 0)) for kind in ("gan", "sd", "cat")}
        for split in COUNTS
    }


def _settings_of(root: Path):
    """Return the settings that a finished set was made with, or None."""
    try:
        return json.loads((root / MARKER).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None


def _check_ours(root: Path) -> None:
    empty = root.is_dir() and not any(root.iterdir())
    if root.exists() and not empty and _settings_of(root) is None:
        raise FileExistsError(
            f"{root} holds something that is no simulated data set; name an empty or a new folder"
        )


def _prepare(staging: Path, settings: dict, jobs: list[Job]) -> None:
    """Make the working folder; what another setting left there goes."""
    wanted = staging / "wanted.json"
    if staging.exists() and not (
        wanted.is_file() and wanted.read_text(encoding="utf-8") == json.dumps(settings)
    ):
        shutil.rmtree(staging)
    for folder in {(staging / job.path).parent for job in jobs} | {staging}:
        folder.mkdir(parents=True, exist_ok=True)
    wanted.write_text(json.dumps(settings), encoding="utf-8")


def _finished(staging: Path) -> dict[int, dict]:
    """Return the rows whose pictures are whole, by number."""
    rows = {}
    for log in staging.glob("rows-*.jsonl"):
        for line in log.read_text(encoding="utf-8").splitlines():
            try:
                row = json.loads(line)
                data = (staging / row["path"]).read_bytes()
            except (OSError, ValueError, KeyError, TypeError):
                continue  # cut off while it was written: that picture is made again
            if hashlib.sha256(data).hexdigest() == row["sha256"]:
                rows[row["index"]] = row
    return rows


def _work(staging: Path, jobs: list[Job], log: str) -> None:
    """Make pictures one after the other and note each when it is on disk."""
    with (staging / log).open("a", encoding="utf-8") as file:
        for job in jobs:
            file.write("\n" + json.dumps(make(job, staging)))  # a torn last line stays alone
            file.flush()


def _run(staging: Path, jobs: list[Job], workers: int, progress) -> None:
    """Make the pictures that are still missing, with processes of our own.

    Plain child processes, not a pool: they start alike on every system, in notebooks, and from
    scripts that have no main guard.
    """
    done = _finished(staging)
    missing = [job for job in jobs if job.index not in done]
    workers = min(workers, -(-len(missing) // 16))  # a process takes half a second to start
    if workers <= 1:
        return _work(staging, missing, "rows-0.jsonl")
    here = str(Path(__file__).resolve().parents[3])
    paths = os.pathsep.join([here, *filter(None, [os.environ.get("PYTHONPATH")])])
    environment = {**os.environ, "PYTHONPATH": paths, **_WORKER}
    command = [sys.executable, "-m", "ddlib.data.simulate.dataset", str(staging.resolve())]
    children = []
    try:
        for number in range(workers):
            todo = staging / f"jobs-{number}.json"
            todo.write_text(json.dumps([asdict(job) for job in missing[number::workers]]))
            children.append(subprocess.Popen([*command, str(number)], env=environment))
        while any(child.poll() is None for child in children):
            time.sleep(0.1)
            progress(_lines(staging), len(jobs))
    finally:
        for child in children:
            child.kill()
            child.wait()
    failed = [child.returncode for child in children if child.returncode]
    if failed:
        raise RuntimeError(f"making simulated pictures in {staging} failed (exit status {failed})")
    return None


def _lines(staging: Path) -> int:
    return sum(log.read_bytes().count(b"\n") for log in staging.glob("rows-*.jsonl"))


def _write_tables(staging: Path, jobs: list[Job]) -> None:
    """Write manifest.csv and faces.csv in the order of the pictures' numbers."""
    rows = _finished(staging)
    lost = [job.path for job in jobs if job.index not in rows]
    if lost:
        raise RuntimeError(f"{len(lost)} pictures are missing in {staging}, the first {lost[0]}")
    table = pd.DataFrame([rows[index] for index in sorted(rows)])
    faces = ["face_x0", "face_y0", "face_x1", "face_y1"]
    table[["path", *faces]].to_csv(staging / "faces.csv", index=False)
    table.drop(columns=["index", *faces]).to_csv(staging / "manifest.csv", index=False)


def _put_in_place(staging: Path, root: Path, settings: dict) -> None:
    """Tidy the working folder, mark it complete and give it its name."""
    for pattern in ("rows-*.jsonl", "jobs-*.json", "wanted.json"):
        for path in staging.glob(pattern):
            path.unlink()
    (staging / MARKER).write_text(json.dumps(settings), encoding="utf-8")
    if root.exists():
        (root / MARKER).unlink(missing_ok=True)
        shutil.rmtree(root)
    staging.replace(root)


def face_boxes(manifest) -> pd.DataFrame:
    """Return path, face_x0, face_y0, face_x1, face_y1 (pixels) for a simulated manifest's rows."""
    faces = pd.read_csv(manifest.root / "faces.csv")
    return manifest.table[["path"]].merge(faces, on="path", how="left", validate="one_to_one")


def face_mask(box, width: int, height: int) -> np.ndarray:
    """Return a (height, width) bool mask: the ellipse that fills a face box.

    `toyportraits.portrait` returns the exact mask of a portrait that one paints oneself.
    """
    x0, y0, x1, y1 = box
    x = (np.arange(width) + 0.5 - (x0 + x1) / 2) / ((x1 - x0) / 2)
    y = (np.arange(height) + 0.5 - (y0 + y1) / 2) / ((y1 - y0) / 2)
    return x[None] ** 2 + y[:, None] ** 2 <= 1


def plant_evidence(image, box, kind: str = "grid", seed: int = 0) -> np.ndarray:
    """Return a picture with a generator's trace inside a box and nowhere else (pointing game).

    Parameters
    ----------
    image : ndarray, (H, W, 3) uint8
        H and W multiples of 32, as the decoders need.
    box : tuple of int
        x0, y0, x1, y1 in pixels; x1 and y1 lie just outside.
    kind : {"grid", "latent"}
        The uneven upsampling of the GAN or the latent decoding of the SD generator.
    seed : int

    Raises
    ------
    ValueError
        If the kind is unknown or the box does not lie in the picture.
    """
    height, width = image.shape[:2]
    x0, y0, x1, y1 = box
    if not (0 <= x0 < x1 <= width and 0 <= y0 < y1 <= height):
        raise ValueError(f"box {tuple(box)} does not lie in a picture of {width} x {height} pixels")
    if kind not in ("grid", "latent"):
        raise ValueError(f"kind={kind!r} is not known; choose from grid, latent")
    rng = np.random.default_rng(seed)
    if kind == "grid":
        traced = gan_upsampling(rng, image)
        traced = np.clip(traced + 0.5, 0, 255).astype(np.uint8)
    else:
        traced = sd_decoder(rng, image)
    out = image.copy()
    out[y0:y1, x0:x1] = traced[y0:y1, x0:x1]
    return out


QUALITIES = (80, 95)  # JPEG qualities, both included


LABELS = {"sim-camera": "real", "sim-cat-camera": "real"}


DECODERS = {
    "sim-camera": camera,
    "sim-cat-camera": camera,
    "sim-gan": gan_decoder,
    "sim-cat-vq": vq_decoder,
    "sim-sd512": sd_decoder,
    "sim-sd768": sd_decoder,
    "sim-sd1024": sd_decoder,
}


SD_SIZES = (512, 768, 1024)


@dataclass(frozen=True)
class Job:
    """One picture to make."""

    index: int
    seed: int
    split: str
    source: str
    size: int
    format: str = "JPEG"

    @property
    def path(self) -> str:
        """Where the file goes, relative to the data set."""
        suffix = "jpg" if self.format == "JPEG" else "png"
        return f"{self.split}/{self.source}/{self.index:05d}_{self.size}.{suffix}"


def plan(counts, seed, confounded) -> list[Job]:
    """Return every picture of the data set, the largest first so that workers end together."""
    wanted = []
    for split, of in counts.items():
        wanted += [(split, source, 256) for source in ("sim-camera", "sim-gan")] * of["gan"]
        wanted += [(split, source, 256) for source in ("sim-cat-camera", "sim-cat-vq")] * of["cat"]
        for size in SD_SIZES:
            real_size = 256 if confounded else size
            wanted += [(split, "sim-camera", real_size), (split, f"sim-sd{size}", size)] * of["sd"]
    jobs = [
        Job(i, seed, *want, "PNG" if confounded and "-sd" in want[1] else "JPEG")
        for i, want in enumerate(wanted)
    ]
    return sorted(jobs, key=lambda job: -job.size)


def make(job: Job, root: Path) -> dict:
    """Make one picture from (seed, index) alone, write it and return its row."""
    rng = np.random.default_rng((job.seed, job.index))
    paint = cat if "-cat-" in job.source else portrait
    scene = paint(rng, job.size)
    picture = DECODERS[job.source](rng, scene.image)
    quality = int(rng.integers(QUALITIES[0], QUALITIES[1] + 1))
    data = _encode(picture, job.format, quality)
    (root / job.path).write_bytes(data)
    return {
        "index": job.index,
        "path": job.path,
        "label": LABELS.get(job.source, "fake"),
        "source": job.source,
        "split": job.split,
        "identity": f"toy-{job.seed}-{job.index}",
        "crop_share": 1.0,
        "width": job.size,
        "height": job.size,
        "format": job.format,
        "bytes": len(data),
        "jpeg_quality": float(quality) if job.format == "JPEG" else float("nan"),
        "sha256": hashlib.sha256(data).hexdigest(),
        **dict(zip(("face_x0", "face_y0", "face_x1", "face_y1"), scene.face_box, strict=True)),
    }


def _encode(picture, kind, quality) -> bytes:
    """Return the bytes of a picture file; every JPEG has 4:2:0 chroma."""
    buffer = io.BytesIO()
    options = (
        {"quality": quality, "subsampling": "4:2:0"} if kind == "JPEG" else {"compress_level": 1}
    )
    Image.fromarray(picture).save(buffer, kind, **options)
    return buffer.getvalue()


if __name__ == "__main__":
    keep_freed_memory()
    _folder, _number = Path(sys.argv[1]), sys.argv[2]
    _todo = json.loads((_folder / f"jobs-{_number}.json").read_text(encoding="utf-8"))
    _work(_folder, [Job(**_job) for _job in _todo], f"rows-{_number}.jsonl")
