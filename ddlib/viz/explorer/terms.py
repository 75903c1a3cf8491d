"""What the explorer's parts hand to each other: a picture, settings, a model's view, an answer."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ddlib.gradcam import HeatMaps


@dataclass(frozen=True)
class Picture:
    """A picture of a manifest, or one that somebody brought.

    `where` is its file or its bytes, `crop_share` the share of the centred square that is kept.
    """

    name: str
    where: Path | bytes
    crop_share: float = 1.0
    label: str = ""
    source: str = ""


@dataclass(frozen=True)
class Settings:
    """What can be set in the explorer.

    Attributes
    ----------
    target : {"fake", "real"}
        Whose evidence is mapped.
    layer : str or None
        A layer's name, "mean", or None for the last convolution.
    opacity, colormap, outline
        How the map is laid over the picture; they never reach the model.
    ela, ela_quality
        Whether to show an Error Level Analysis of the picture, and its JPEG quality.
    resize : int or None
        Bring the shorter side to this many pixels first.
    resave : int or None
        Then save the picture as JPEG of this quality.
    """

    target: str = "fake"
    layer: str | None = None
    opacity: float = 0.5
    colormap: str = "inferno"
    outline: bool = True
    ela: bool = False
    ela_quality: int = 90
    resize: int | None = None
    resave: int | None = None

    @property
    def changes(self) -> list[str]:
        """What is done to the picture before the model sees it, in words."""
        steps = [f"resized to {self.resize} px"] if self.resize else []
        return steps + ([f"JPEG {self.resave}"] if self.resave else [])


@dataclass(frozen=True, eq=False)
class View:
    """One model's answer.

    Attributes
    ----------
    score, untouched_score : float
        P(fake) of the picture as changed and as it is.
    verdict : {"real", "unsure", "fake"}
    seen : ndarray, (S, S, 3) uint8
        The picture as it is prepared for the model, before any ELA.
    maps : HeatMaps
        Of the layer asked for.
    layers : dict
        Name -> (h, w) of the model's explained layers.
    ela : ndarray (S, S, 3) uint8, or None
    ela_note : str
    """

    model: str
    score: float
    untouched_score: float
    verdict: str
    seen: np.ndarray
    maps: HeatMaps
    layers: dict
    ela: np.ndarray | None
    ela_note: str


@dataclass(frozen=True, eq=False)
class Answer:
    """What is shown: one view a model, and all of them as one PNG."""

    picture: Picture
    views: list[View]
    png: bytes
