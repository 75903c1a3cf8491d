"""The models and pictures that the explorer offers: a study's own, and the shipped detectors."""

from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

import numpy as np
import pandas as pd

from ddlib.data.manifest import Manifest
from ddlib.deploy.detector import list_detectors
from ddlib.images.jpeg import encode_jpeg
from ddlib.images.read import ImageError, center_crop, read_image, resize
from ddlib.metrics.format import display_name
from ddlib.protocol import CONDITIONS, PROTOCOLS

THUMB = 84  # pixels
ANY = "any"  # a filter that lets all pictures pass


@dataclass(frozen=True)
class Picture:
    """An image of a manifest, or one that the user brought."""

    name: str
    where: Path | bytes  # its file, or its content
    crop_share: float = 1.0  # of the centred square, what is kept
    label: str = ""  # "real" or "fake"; empty where it is not known, as is `source`
    source: str = ""
    score: float = field(default=np.nan, compare=False)  # what a model gave when it was tested

    @property
    def origin(self) -> str:
        """What is known of it, in words."""
        if not self.label:
            return "Own picture"
        cut = f", of whose square the middle {self.crop_share:.0%} is used"
        words = f"It is {self.label}: {display_name(self.source)}"
        return words + (cut if self.crop_share < 1 else "")

    @property
    def decision(self) -> str:
        """Whether the score is "right" or "wrong" at 0.5; empty where there is none."""
        if np.isnan(self.score):
            return ""
        return "right" if (self.score >= 0.5) == (self.label == "fake") else "wrong"


def trained_models(folder: Path) -> list[Path]:
    """Return the .keras files of the finished runs in a study's folder, by name."""
    finished = sorted(Path(folder).glob("models/*/finished.json"))  # written last
    models = [file.with_name("detector.keras") for file in finished]
    return [model for model in models if model.is_file()]


def find_models(folder: Path) -> list[Path]:
    """Return the trained models of a study's folder, then the detectors of the package."""
    shipped = [each.folder / f"{name}.keras" for name, each in list_detectors().items()]
    return trained_models(folder) + shipped


def model_title(file: Path | str) -> str:
    """Return in words what a model learned from, or which shipped detector it is."""
    file = Path(file)
    name = file.parent.name if file.name == "detector.keras" else file.stem
    protocol, _, rest = name.partition("-")
    condition, _, change = rest.partition("-")
    if protocol not in PROTOCOLS or condition not in CONDITIONS:
        return display_name(name, "detector")
    words = display_name(condition, "condition"), display_name(protocol, "protocol"), change
    return ", ".join(filter(None, words))


def pictures_of(manifest: Manifest, model: str) -> list[Picture]:
    """Return the test images (all, if there are none), with the scores beside a model's file."""
    chosen = manifest.select(split="test")
    table = (chosen if len(chosen) else manifest).table.assign(score=np.nan)
    scores = Path(model).with_name("scores.csv")
    if scores.is_file():
        table["score"] = table["path"].map(pd.read_csv(scores).set_index("path")["score"])
    return [
        Picture(x.path, manifest.root / x.path, x.crop_share, x.label, x.source, x.score)
        for x in table.itertuples()
    ]


def matching(pictures: list[Picture], source: str, label: str, decision: str) -> list[Picture]:
    """Return the pictures that pass every filter."""
    for name, wanted in (("source", source), ("label", label), ("decision", decision)):
        if wanted != ANY:
            pictures = [picture for picture in pictures if getattr(picture, name) == wanted]
    return pictures


@lru_cache(256)
def thumbnail(picture: Picture) -> bytes:
    """Return a small JPEG of a picture's centre, or a grey one if it cannot be read."""
    try:
        image = resize(center_crop(read_image(picture.where), picture.crop_share), THUMB)
    except (ImageError, OSError):
        image = np.full((THUMB, THUMB, 3), 200, np.uint8)
    return encode_jpeg(image, 85)
