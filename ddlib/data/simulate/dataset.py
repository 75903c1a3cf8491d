"""The simulated data set: the study's classes, sizes and splits, made offline.

Simulated portraits are photographed by a simulated camera (real) or pass through generator-like
decoders (fake). Every picture follows from (seed, its number) alone. Size, format and JPEG quality
have the same distribution in both classes, unless the study's confound is asked for. The set shows
how a detector behaves; it is no evidence about real generators.
"""

from __future__ import annotations

import hashlib
import io
import json
import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image

from ddlib._io import cpu_count, file_lock, write_json
from ddlib.data.manifest import Manifest
from ddlib.data.simulate.cats import cat
from ddlib.data.simulate.generators import camera, gan_decoder, sd_decoder, vq_decoder
from ddlib.data.simulate.portraits import portrait
from ddlib.protocol import SIMULATE

MARKER = "simulated.json"  # the settings of a finished set
JPEG_QUALITIES = (80, 95)  # both included
SD_SIZES = (512, 768, 1024)
REAL_SOURCES = ("sim-camera", "sim-camera-large", "sim-cat-camera")
DECODERS = {
    "sim-camera": camera,
    "sim-camera-large": camera,
    "sim-cat-camera": camera,
    "sim-gan": gan_decoder,
    "sim-cat-vq": vq_decoder,
    "sim-sd512": sd_decoder,
    "sim-sd768": sd_decoder,
    "sim-sd1024": sd_decoder,
}
# Pictures of each class by split: 256-pixel portraits (camera and GAN), each SD size, and cats.
COUNTS = {
    "train": {"gan": 320, "sd": 68, "cat": 0},
    "valid": {"gan": 48, "sd": 12, "cat": 0},
    "test": {"gan": 100, "sd": 34, "cat": 54},
}
SMALL_COUNTS = {
    "train": {"gan": 64, "sd": 9, "cat": 0},
    "valid": {"gan": 12, "sd": 3, "cat": 0},
    "test": {"gan": 20, "sd": 6, "cat": 8},
}
FACE_COLUMNS = ["face_x0", "face_y0", "face_x1", "face_y1"]


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
        """The file's path, relative to the data set."""
        suffix = "jpg" if self.format == "JPEG" else "png"
        return f"{self.split}/{self.source}/{self.index:05d}_{self.size}.{suffix}"


def make_simulated(
    root,
    counts=None,
    seed: int = 0,
    confounded: bool = False,
    small: bool = False,
    workers: int | None = None,
    progress: bool = False,
) -> Manifest:
    """Make the simulated data set under `root`, or reuse it if it is already there.

    The pictures are made in a folder beside `root`, which takes its name when all are there: a
    killed run leaves no half-made set. Any number of workers writes the same bytes.

    Parameters
    ----------
    root : path
        A folder that does not exist, is empty, or was made by this function.
    counts : dict, optional
        Pictures of each class: ``{split: {"gan": n, "sd": n for each of three sizes, "cat": n}}``.
    seed : int
    confounded : bool
        Reproduce the study's confound: all reals are 256-pixel JPEG files, all SD fakes PNG files
        of 512 to 1024 pixels.
    small : bool
        Make a tiny set with the same sources and splits, for quick checks.
    workers : int, optional
        Processes; by default one for each processor.
    progress : bool
        Show a progress bar.

    Returns
    -------
    Manifest
        The table is ``manifest.csv``; ``faces.csv`` beside it holds path and the face's box in
        pixels of the file.

    Raises
    ------
    ValueError
        If `counts` names an unknown split or class, or a count is negative.
    FileExistsError
        If `root` holds something that this function did not make.
    """
    root = Path(root)
    counts = _checked_counts(counts or (SMALL_COUNTS if small else COUNTS))
    settings = {"version": SIMULATE, "seed": seed, "confounded": confounded, "counts": counts}
    with file_lock(root):
        if _settings_of(root) != settings:
            _make(root, settings, workers or cpu_count(), progress)
    return Manifest.load(root / "manifest.csv", root)


def plan(counts, seed: int, confounded: bool) -> list[Job]:
    """Return every picture of the data set, the largest first so that workers end together."""
    wanted = []
    for split, of in counts.items():
        wanted += [(split, source, 256) for source in ("sim-camera", "sim-gan")] * of["gan"]
        wanted += [(split, source, 256) for source in ("sim-cat-camera", "sim-cat-vq")] * of["cat"]
        for size in SD_SIZES:
            camera_of_size = (split, "sim-camera-large", 256 if confounded else size)
            wanted += [camera_of_size, (split, f"sim-sd{size}", size)] * of["sd"]
    jobs = []
    for index, (split, source, size) in enumerate(wanted):
        kind = "PNG" if confounded and source.startswith("sim-sd") else "JPEG"
        jobs.append(Job(index, seed, split, source, size, kind))
    return sorted(jobs, key=lambda job: -job.size)


def make_picture(job: Job, root: Path) -> dict:
    """Make one picture from (seed, index) alone, write it and return its row."""
    rng = np.random.default_rng((job.seed, job.index))
    paint = cat if "-cat-" in job.source else portrait
    scene = paint(rng, job.size)
    picture = DECODERS[job.source](rng, scene.image)
    quality = int(rng.integers(JPEG_QUALITIES[0], JPEG_QUALITIES[1] + 1))
    data = _encode(picture, job.format, quality)
    (root / job.path).write_bytes(data)
    row = {
        "index": job.index,
        "path": job.path,
        "label": "real" if job.source in REAL_SOURCES else "fake",
        "source": job.source,
        "split": job.split,
        "identity": f"sim-{job.seed}-{job.index}",
        "crop_share": 1.0,
        "width": job.size,
        "height": job.size,
        "format": job.format,
        "bytes": len(data),
        "jpeg_quality": float(quality) if job.format == "JPEG" else float("nan"),
        "sha256": hashlib.sha256(data).hexdigest(),
    }
    row.update(zip(FACE_COLUMNS, scene.face_box, strict=True))
    return row


def face_boxes(manifest: Manifest) -> pd.DataFrame:
    """Return path, face_x0, face_y0, face_x1, face_y1 (pixels) for a simulated manifest's rows."""
    faces = pd.read_csv(manifest.root / "faces.csv")
    return manifest.table[["path"]].merge(faces, on="path", how="left", validate="one_to_one")


def _make(root: Path, settings: dict, workers: int, progress: bool) -> None:
    from joblib import Parallel, delayed
    from tqdm import tqdm

    _check_ours(root)
    jobs = plan(settings["counts"], settings["seed"], settings["confounded"])
    staging = root.with_name(f".{root.name}.unfinished")
    shutil.rmtree(staging, ignore_errors=True)
    for folder in {(staging / job.path).parent for job in jobs} | {staging}:
        folder.mkdir(parents=True, exist_ok=True)
    pool = Parallel(min(workers, 1 + len(jobs) // 16), return_as="generator")
    rows = pool(delayed(make_picture)(job, staging) for job in jobs)
    rows = list(tqdm(rows, "simulating", len(jobs), unit="picture", disable=not progress))
    _write_tables(staging, pd.DataFrame(rows).sort_values("index"))
    write_json(staging / MARKER, settings)
    shutil.rmtree(root, ignore_errors=True)
    staging.replace(root)


def _write_tables(folder: Path, table: pd.DataFrame) -> None:
    table[["path", *FACE_COLUMNS]].to_csv(folder / "faces.csv", index=False)
    table.drop(columns=["index", *FACE_COLUMNS]).to_csv(folder / "manifest.csv", index=False)


def _checked_counts(counts) -> dict:
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


def _encode(picture: np.ndarray, kind: str, quality: int) -> bytes:
    """Return the bytes of a picture file; every JPEG has 4:2:0 chroma subsampling."""
    buffer = io.BytesIO()
    if kind == "JPEG":
        Image.fromarray(picture).save(buffer, kind, quality=quality, subsampling="4:2:0")
    else:
        Image.fromarray(picture).save(buffer, kind, compress_level=1)
    return buffer.getvalue()
