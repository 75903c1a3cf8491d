"""The pictures and models that the explorer offers: found in a study's folder, filtered."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from ddlib.data.manifest import Manifest
from ddlib.images.jpeg import encode_jpeg
from ddlib.images.read import ImageError, center_crop, read_image, resize
from ddlib.protocol import CONDITIONS, PROTOCOLS
from ddlib.viz.explorer.terms import Picture

PAGE = 8  # thumbnails side by side


THUMB = 84  # pixels


def find_models(folder: Path) -> dict[str, Path]:
    """Return name -> file of the trained detectors in a study's folder, in the study's order.

    Only finished ones count: training writes ``finished.json`` last.
    """
    found = {
        file.parent.name: file.parent / "detector.keras"
        for file in sorted((Path(folder) / "models").glob("*/finished.json"))
        if (file.parent / "detector.keras").is_file()
    }
    studied = [f"{name}-{model}" for name in reversed(PROTOCOLS) for model in CONDITIONS]
    order = [name for name in studied if name in found]
    return {name: found[name] for name in [*order, *(n for n in found if n not in order)]}


def missing_models(models) -> list[str]:
    """Return the study's models, clean and paper, that are not among these names."""
    studied = [f"{name}-{model}" for name in reversed(PROTOCOLS) for model in CONDITIONS]
    return [name for name in studied if name not in models]


def scores_of(model: Path) -> pd.Series | None:
    """Return path -> P(fake) as kept beside a study's detector, or None for another file."""
    file = Path(model).with_name("scores.csv")
    if not file.is_file():
        return None
    return pd.read_csv(file, float_precision="round_trip").set_index("path")["score"]


def gallery_table(manifest: Manifest, scores: pd.Series | None = None) -> pd.DataFrame:
    """Return the test pictures (all, if there are none) with their scores and decisions.

    Returns
    -------
    DataFrame
        path, label, source, crop_share, score (NaN where unknown), and decision at 0.5: "right",
        "wrong", or nothing.
    """
    chosen = manifest.select(split="test")
    table = (chosen if len(chosen) else manifest).table[["path", "label", "source", "crop_share"]]
    score = np.full(len(table), np.nan) if scores is None else scores.reindex(table["path"])
    table = table.assign(score=np.asarray(score, float)).reset_index(drop=True)
    right = (table["score"] >= 0.5) == (table["label"] == "fake")
    words = np.where(table["score"].isna(), "", np.where(right, "right", "wrong"))
    return table.assign(decision=words)


def matching(
    table: pd.DataFrame,
    source: str | None = None,
    label: str | None = None,
    decision: str | None = None,
    scores: tuple[float, float] = (0.0, 1.0),
) -> pd.DataFrame:
    """Return the rows that pass every filter; None lets all pass, and so do scores of 0 to 1."""
    keep = pd.Series(True, index=table.index)
    for column, wanted in {"source": source, "label": label, "decision": decision}.items():
        if wanted is not None:
            keep &= table[column] == wanted
    if tuple(scores) != (0.0, 1.0):
        keep &= table["score"].between(*scores)
    return table[keep].reset_index(drop=True)


def picture_of(root: Path, row) -> Picture:
    """Return a table's row as a `Picture`."""
    return Picture(row.path, Path(root) / row.path, float(row.crop_share), row.label, row.source)


def thumbnail(picture: Picture) -> bytes:
    """Return a small JPEG of a picture's centre, or a grey one if it cannot be read."""
    try:
        image = resize(center_crop(read_image(picture.where), picture.crop), THUMB)
    except ImageError:
        image = np.full((THUMB, THUMB, 3), 200, np.uint8)
    return encode_jpeg(image, 85)
