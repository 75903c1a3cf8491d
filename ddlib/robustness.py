"""What a detector's verdicts are worth once a picture was saved again, blurred, resized or cropped.

A disturbance is done to the picture as it lies in its file, before the detector's own preparation:
that is where messengers, web sites and cameras do it. The same picture undisturbed is its twin, so
two questions are answered apart: how many calls are right, and how many single verdicts flip. Both
classes can lose as many as they gain, and then accuracy hides the flips.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import chain
from math import nan

import numpy as np
import pandas as pd
from PIL import Image, ImageFilter

from ddlib import images, metrics
from ddlib.batches import prepare
from ddlib.detectors import Detector
from ddlib.files import digest
from ddlib.jpeg import check_image, recompress
from ddlib.manifest import Manifest
from ddlib.parallel import in_order
from ddlib.scorer import Scorer

UNDISTURBED = "none"
_SHARES = ("accuracy", "recall_real", "recall_fake")
MEASURED = tuple(f"{share}{end}" for share in _SHARES for end in ("", "_low", "_high"))


@dataclass(frozen=True)
class Kind:
    """A way to disturb pictures: what does it, how strongly, and which strengths there can be."""

    change: Callable[[np.ndarray, float, int], np.ndarray]
    strengths: tuple[float, ...]  # from mild to harsh
    least: float
    most: float


def _jpeg(image, quality, seed):
    return recompress(image, int(quality))


def _blur(image, sigma, seed):
    return np.asarray(Image.fromarray(image).filter(ImageFilter.GaussianBlur(sigma)))


def _resize(image, scale, seed):
    height, width = image.shape[:2]
    small = max(1, round(width * scale)), max(1, round(height * scale))
    there = Image.fromarray(image).resize(small, Image.Resampling.BILINEAR)  # as `images.resize`
    return np.asarray(there.resize((width, height), Image.Resampling.BILINEAR))


def _crop(image, share, seed):
    kept = [max(1, round(side * share)) for side in image.shape[:2]]
    top, left = ((side - k) // 2 for side, k in zip(image.shape, kept, strict=False))
    return image[top : top + kept[0], left : left + kept[1]]


def _noise(image, sigma, seed):
    noise = np.random.default_rng(seed).standard_normal(image.shape, np.float32)
    return np.rint(image + sigma * noise).clip(0, 255).astype(np.uint8)


KINDS = {
    "jpeg": Kind(_jpeg, (95, 90, 80, 70, 60, 50, 40, 30), 1, 100),  # quality
    "blur": Kind(_blur, (0.5, 1, 2), 0, 100),  # sigma of a Gaussian in pixels
    "resize": Kind(_resize, (0.75, 0.5, 0.25), 0.01, 1),  # to this share of each side, and back
    "crop": Kind(_crop, (0.9, 0.75, 0.5), 0.01, 1),  # the middle, this share of each side
    "noise": Kind(_noise, (2, 5, 10), 0, 255),  # sigma in grey levels, each value on its own
}
DISTURBANCES = tuple((name, s) for name, kind in KINDS.items() for s in kind.strengths)


def disturb(image: np.ndarray, kind: str, strength: float, seed: int = 0) -> np.ndarray:
    """Return a picture after one disturbance.

    Parameters
    ----------
    image : (H, W, 3) uint8
    kind : {"jpeg", "blur", "resize", "crop", "noise"}
    strength : float
        Quality 1 to 100; sigma of the Gaussian in pixels; share of each side that the picture is
        brought to (and back, antialiased); share of each side that is kept, the middle of it; sigma
        of Gaussian noise in grey levels.
    seed : int
        Of the noise. One seed gives one pattern, of which ``strength`` is the scale.

    Returns
    -------
    (H, W, 3) uint8, smaller after a crop

    Raises
    ------
    ValueError
        If the kind is unknown, the strength out of its range or the picture of another form.
    """
    if kind not in KINDS:
        raise ValueError(f"disturbance {kind!r} is not known; choose from {', '.join(KINDS)}")
    least, most = KINDS[kind].least, KINDS[kind].most
    if not least <= strength <= most:  # true for NaN as well
        raise ValueError(f"{kind} {strength} is out of range; give {least} to {most}")
    check_image(image)
    return KINDS[kind].change(image, strength, seed)


def disturbed_logits(
    manifest: Manifest,
    detector: Detector,
    disturbances: Sequence[tuple[str, float]] = (),
    scorer: Scorer | None = None,
) -> np.ndarray:
    """Return the logit of every picture as it is and after each disturbance.

    Each file is read once. Few pictures are in memory at a time, however many there are.

    Parameters
    ----------
    manifest : Manifest
    detector : Detector
    disturbances : sequence of (kind, strength)
        As `disturb` takes them; none for the logits of the pictures as they are.
    scorer : Scorer, optional
        Of this detector, if it was made already.

    Returns
    -------
    (N, 1 + D) float64
        Not calibrated; the first column is the undisturbed picture.

    Raises
    ------
    ValueError
        If the manifest is empty or a disturbance cannot be.
    ImageError
        If a file cannot be read; it names the file.
    """
    return shared_logits(manifest, {"": detector}, disturbances, {"": scorer})[""]


def shared_logits(
    manifest: Manifest,
    detectors: dict[str, Detector],
    disturbances: Sequence[tuple[str, float]] = (),
    scorers: dict[str, Scorer | None] | None = None,
) -> dict[str, np.ndarray]:
    """Do as `disturbed_logits` for several detectors by name, with little done twice.

    Detectors that want pictures prepared alike share each prepared picture.
    """
    if not len(manifest):
        raise ValueError("the manifest is empty: there is no picture to disturb")
    scorers = {name: (scorers or {}).get(name) or d.scorer() for name, d in detectors.items()}
    alike: dict[str, list[str]] = {}
    for name, detector in detectors.items():
        alike.setdefault(digest(detector.protocol.preparation()), []).append(name)
    found = {}
    for names in alike.values():
        protocol = detectors[names[0]].protocol
        ask = [scorers[name] for name in names]
        found |= dict(zip(names, _logits(manifest, protocol, disturbances, ask), strict=True))
    return {name: found[name] for name in detectors}


def _logits(manifest, protocol, disturbances, scorers: list[Scorer]) -> np.ndarray:
    """Return (scorers, N, 1 + D)."""

    def row(file) -> list[list[float]]:
        path, crop, sha256 = file
        image = images.read_image(path)
        image = images.center_crop(image, crop) if protocol.crop else image
        seed = int(sha256[:8], 16)  # a picture has its own noise, in whatever set it turns up
        changed = (disturb(image, *change, seed) for change in disturbances)
        shown = [prepare(picture, protocol) for picture in chain([image], changed)]
        return [[scorer.logit(picture) for picture in shown] for scorer in scorers]

    files = zip(manifest.paths, manifest.table["crop"], manifest.table["sha256"], strict=True)
    return np.array(list(in_order(row, files, scorers[0].workers))).swapaxes(0, 1)


def sweep(
    manifest: Manifest,
    detector: Detector,
    disturbances: Sequence[tuple[str, float]] = DISTURBANCES,
    scorer: Scorer | None = None,
) -> pd.DataFrame:
    """Measure a detector at its threshold under each disturbance; parameters as above.

    Returns
    -------
    DataFrame
        As `compare_columns` makes it.
    """
    table = sweep_all(manifest, {"": detector}, disturbances, {"": scorer})
    return table.drop(columns="detector")


def sweep_all(
    manifest: Manifest,
    detectors: dict[str, Detector],
    disturbances: Sequence[tuple[str, float]] = DISTURBANCES,
    scorers: dict[str, Scorer | None] | None = None,
) -> pd.DataFrame:
    """Do as `sweep` for several detectors; their names are in the column ``detector``."""
    logits = shared_logits(manifest, detectors, disturbances, scorers)
    tables = []
    for name, detector in detectors.items():
        scores = detector.scores(logits[name])
        table = compare_columns(manifest.labels, scores, disturbances, detector.threshold)
        tables.append(table.assign(detector=name))
    return pd.concat(tables, ignore_index=True)


def compare_columns(labels, scores, disturbances, threshold: float = 0.5) -> pd.DataFrame:
    """Return what each disturbance does to a set's verdicts.

    Parameters
    ----------
    labels : (N,) array of 0 (real) and 1 (fake)
    scores : (N, 1 + D) array in [0, 1]
        The undisturbed pictures first.
    disturbances : sequence of D (kind, strength)
    threshold : float

    Returns
    -------
    DataFrame
        A row for each, "none" first: disturbance, strength; n_real, n_fake; accuracy, recall_real
        and recall_fake with _low and _high (Wilson; NaN where a set of one class has none);
        n_flips and their share flips with its interval: verdicts unlike those of the undisturbed
        pictures; change, change_low and change_high: the share of right calls minus that of the
        undisturbed pictures (paired interval); threshold. All intervals are 95 %.

    Raises
    ------
    ValueError
        If there are more or fewer columns than disturbances and one.
    """
    from ddlib.deploy import agreement  # which brings Keras along: only when it is needed

    scores = np.asarray(scores, np.float64)
    names = [(UNDISTURBED, nan), *disturbances]
    if scores.ndim != 2 or scores.shape[1] != len(names):
        raise ValueError(
            f"scores of {len(disturbances)} disturbances and of the undisturbed pictures are "
            f"(N, {len(names)}); got {scores.shape}"
        )
    rows = []
    for (kind, strength), column in zip(names, scores.T, strict=True):
        found = metrics.evaluate(labels, column, threshold)
        twin = agreement(column, scores[:, 0], threshold=threshold)
        shift = metrics.compare(labels, column, scores[:, 0], threshold)
        row = {"disturbance": kind, "strength": float(strength)}
        row |= {name: found[name] for name in ("n_real", "n_fake", *MEASURED)}
        row |= {"n_flips": twin["flips"], "flips": twin["flip_rate"]}
        row |= {"flips_low": twin["flip_low"], "flips_high": twin["flip_high"]}
        row |= {"change": shift["difference"]}
        row |= {"change_low": shift["low"], "change_high": shift["high"]}
        rows.append(row | {"threshold": float(threshold)})
    return pd.DataFrame(rows)
