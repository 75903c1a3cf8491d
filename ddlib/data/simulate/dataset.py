"""The simulated data set: the study's classes, sizes and splits, made offline.

Simulated portraits are photographed by a simulated camera (real) or pass through generator-like
decoders (fake). Every picture follows from (seed, its number) alone. Size, format and JPEG quality
have the same distribution in both classes, unless the study's confound is asked for. The set shows
how a detector behaves; it is no evidence about real generators.
"""

import glob
import shutil
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pandas as pd
from PIL import Image

from ddlib._utils import (
    cpu_count,
    file_digest,
    file_lock,
    move,
    ordered_process_map,
    read_json,
    write_json,
)
from ddlib.data.manifest import Manifest
from ddlib.data.simulate.cats import cat
from ddlib.data.simulate.generators import camera, gan_decoder, sd_decoder, vq_decoder
from ddlib.data.simulate.portraits import portrait
from ddlib.protocol import SIMULATE

MARKER = "simulated.json"  # the settings of a finished set
JPEG_QUALITIES = (80, 95)  # both included
SD_SIZES = (512, 768, 1024)
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
CLASSES = ("gan", "sd", "cat")
FACE_COLUMNS = ["face_x0", "face_y0", "face_x1", "face_y1"]


def make_simulated(
    root, counts=None, seed: int = 0, confounded: bool = False, small: bool = False, workers=None
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
            _make(root, settings, workers or cpu_count())
    return Manifest.load(root / "manifest.csv", root)


def plan(counts, seed: int, confounded: bool) -> list[dict]:
    """Return what is known of every picture before it is made, as rows of the manifest.

    The largest come first, so that the workers end together.
    """
    wanted = []
    for split, of in counts.items():
        wanted += [(split, source, 256) for source in ("sim-camera", "sim-gan")] * of["gan"]
        wanted += [(split, source, 256) for source in ("sim-cat-camera", "sim-cat-vq")] * of["cat"]
        for size in SD_SIZES:
            camera_of_size = (split, "sim-camera-large", 256 if confounded else size)
            wanted += [camera_of_size, (split, f"sim-sd{size}", size)] * of["sd"]
    rows = []
    for index, (split, source, size) in enumerate(wanted):
        png = confounded and source.startswith("sim-sd")
        name = f"{index:05d}_{size}.{'png' if png else 'jpg'}"
        row = {"index": index, "path": f"{split}/{source}/{name}"}
        row |= {"label": "real" if "camera" in source else "fake", "source": source, "split": split}
        row |= {"identity": f"sim-{seed}-{index}", "crop_share": 1.0}
        row |= {"width": size, "height": size, "format": "PNG" if png else "JPEG"}
        rows.append(row)
    return sorted(rows, key=lambda row: -row["width"])


def make_picture(row: dict, seed: int, root: Path) -> dict:
    """Make one picture from (seed, its index) alone, write it and return its completed row.

    Every JPEG has 4:2:0 chroma subsampling.
    """
    rng = np.random.default_rng((seed, row["index"]))
    paint = cat if "-cat-" in row["source"] else portrait
    scene = paint(rng, row["width"])
    picture = Image.fromarray(DECODERS[row["source"]](rng, scene.image))
    quality = int(rng.integers(JPEG_QUALITIES[0], JPEG_QUALITIES[1] + 1))
    jpeg, path = row["format"] == "JPEG", root / row["path"]
    options = {"quality": quality, "subsampling": "4:2:0"} if jpeg else {"compress_level": 1}
    picture.save(path, **options)
    row = row | {"bytes": path.stat().st_size, "jpeg_quality": float(quality if jpeg else "nan")}
    row |= {"sha256": file_digest(path)}
    return row | dict(zip(FACE_COLUMNS, scene.face_box, strict=True))


def face_boxes(manifest: Manifest) -> pd.DataFrame:
    """Return path, face_x0, face_y0, face_x1, face_y1 (pixels) for a simulated manifest's rows."""
    faces = pd.read_csv(manifest.root / "faces.csv")
    return manifest.table[["path"]].merge(faces, on="path", how="left", validate="one_to_one")


def _make(root: Path, settings: dict, workers: int) -> None:
    """Make the set in a folder of its own beside `root` and move it there when it is whole.

    A killed run leaves that folder, which no later run writes to; the next one removes it.
    """
    from tqdm import tqdm

    if _settings_of(root) is None and root.exists() and (root.is_file() or any(root.iterdir())):
        raise FileExistsError(
            f"{root} holds something that is no simulated data set; name an empty or a new folder"
        )
    prefix = f".{root.name}.unfinished-"
    for left in root.parent.glob(f"{glob.escape(prefix)}*"):
        shutil.rmtree(left, ignore_errors=True)
    seed = settings["seed"]
    todo = plan(settings["counts"], seed, settings["confounded"])
    with TemporaryDirectory(prefix=prefix, dir=root.parent) as place:
        made = Path(place) / "set"
        for folder in {(made / row["path"]).parent for row in todo} | {made}:
            folder.mkdir(parents=True, exist_ok=True)
        workers = min(workers, 1 + len(todo) // 16)
        rows = ordered_process_map(partial(make_picture, seed=seed, root=made), todo, workers)
        rows = list(tqdm(rows, "simulating", len(todo), unit="picture", disable=None))
        table = pd.DataFrame(rows).sort_values("index")
        table[["path", *FACE_COLUMNS]].to_csv(made / "faces.csv", index=False)
        table.drop(columns=["index", *FACE_COLUMNS]).to_csv(made / "manifest.csv", index=False)
        write_json(made / MARKER, settings)
        if root.exists():  # a whole set goes at once: a half-removed one would keep its marker
            move(root, Path(place) / "replaced")
        move(made, root)


def _settings_of(root: Path):
    """Return the settings that a finished set was made with, or None."""
    try:
        return read_json(root / MARKER)
    except (OSError, ValueError):
        return None


def _checked_counts(counts) -> dict:
    """Return counts as plain ints, every split and class named."""
    for split, of in counts.items():
        if split not in COUNTS or set(of) - set(CLASSES) or min(of.values(), default=0) < 0:
            raise ValueError(
                f"counts[{split!r}]={of!r}: allowed are splits {', '.join(COUNTS)} "
                f"with counts of {', '.join(CLASSES)} from 0 up"
            )
    return {split: {c: int(counts.get(split, {}).get(c, 0)) for c in CLASSES} for split in COUNTS}
