"""Trained detectors on disk: found by name or file, checked against their card, then loaded.

A detector is up to three files of one name. ``NAME.json``, the card, says what made it and how its
score is read; ``NAME.tflite`` scores (`ddlib.deploy.scorer`); ``NAME.keras`` explains and trains on.
Those that come with the package lie in ``ddlib/checkpoints``; what `ddlib.models.checkpoint.save_detector`
writes is a detector too. Nothing is loaded before its hash is checked, and nothing is unpickled.

The card is JSON. Needed: ``protocol`` (`Protocol.to_dict`), ``sha256`` of the .keras file and
``tflite_sha256`` of the .tflite file (null or absent where there is none). Read if there:
``temperature`` (1), ``threshold`` (0.5) and ``unsure`` [low, high] (both the threshold), the latter
two on calibrated scores; ``default`` (true for the one that is used unless another is named).
For people: ``what``, ``data``, ``licence``, ``limits``, ``numbers``, ``provenance``.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from ddlib._io import file_digest, read_json
from ddlib.deploy.scorer import ModelError, Scorer
from ddlib.metrics.calibration import probability
from ddlib.protocol import Protocol

SHIPPED = Path(__file__).parent / "checkpoints"


HASHES = {".keras": "sha256", ".tflite": "tflite_sha256"}


class DetectorError(ValueError):
    """A detector that is not there, not whole or not what its card says."""


@dataclass(frozen=True, eq=False)
class Detector:
    """A detector's card and where its files are; nothing is loaded until it is asked for.

    Parameters
    ----------
    name : str
        The stem of its files.
    folder : Path
    card : dict
        As this module's text describes it.

    Raises
    ------
    DetectorError
        If the card lacks something or holds a number that cannot be.
    """

    name: str
    folder: Path
    card: dict

    def __post_init__(self):
        """Read every field once, so that a wrong card is found before any work is done."""
        try:
            low, high = self.unsure
            sound = 0 <= low <= high and self.temperature > 0 and self.protocol.image_size > 0
            sound = sound and np.isfinite([high, self.temperature, self.threshold]).all()
        except (KeyError, TypeError, ValueError) as error:
            raise DetectorError(f"{self._card_file} is no card of a detector: {error!r}") from error
        if not sound:
            raise DetectorError(
                f"{self._card_file}: temperature {self.temperature} (above 0 is allowed), unsure "
                f"{self.unsure} ([low, high], 0 <= low <= high) or threshold cannot be"
            )

    @property
    def _card_file(self) -> Path:
        return self.folder / f"{self.name}.json"

    @cached_property
    def protocol(self) -> Protocol:
        """How pictures are prepared for it, and what trained it."""
        return Protocol.from_dict(self.card["protocol"])

    @property
    def temperature(self) -> float:
        """Divides the logit, so that a score of 0.8 is right in 8 of 10 cases (on its data)."""
        return float(self.card.get("temperature", 1.0))

    @property
    def threshold(self) -> float:
        """Called fake from this calibrated score upward."""
        return float(self.card.get("threshold", 0.5))

    @property
    def unsure(self) -> tuple[float, float]:
        """The verdict is "unsure" from the first to below the second of these scores."""
        low, high = self.card.get("unsure", (self.threshold, self.threshold))
        return float(low), float(high)

    def has(self, suffix: str) -> bool:
        """Return whether the card lists a ".keras" or ".tflite" file."""
        return bool(self.card.get(HASHES[suffix]))

    def file(self, suffix: str) -> Path:
        """Return the path of its ".keras" or ".tflite" file after checking the hash.

        Raises
        ------
        DetectorError
            If there is none, or it is not the file that the card describes.
        """
        path = self.folder / f"{self.name}{suffix}"
        if not self.has(suffix):
            raise DetectorError(f"detector {self.name} comes without a {suffix} file")
        if not path.is_file():
            raise DetectorError(f"{path} is missing, and {self._card_file.name} lists it")
        if file_digest(path) != self.card[HASHES[suffix]]:
            raise DetectorError(
                f"{path} is not the file that {self._card_file.name} describes: hashes differ. "
                "It is damaged, cut short or changed: install ddlib or copy the detector anew"
            )
        return path

    def scorer(self, workers: int | None = None) -> Scorer:
        """Return what scores pictures fast; without a .tflite file one is made in memory.

        Raises
        ------
        DetectorError
            If the model is damaged or takes pictures of another size than the card says.
        """
        if self.has(".tflite"):
            model = self.file(".tflite")
        else:
            from ddlib.deploy.export import convert

            model = convert(self.keras_model())
        try:
            scorer = Scorer(model, workers)
        except ModelError as error:
            raise DetectorError(str(error)) from error
        self._check_size(scorer.image_size)
        return scorer

    def keras_model(self):
        """Return the Keras model, loaded in safe mode (code inside a file is not run).

        Raises
        ------
        DetectorError
            As `scorer` does.
        """
        path = self.file(".keras")
        import keras

        try:
            model = keras.models.load_model(path, compile=False, safe_mode=True)
        except Exception as error:  # Keras raises whatever its parts raise
            raise DetectorError(f"{path} cannot be read as a Keras model: {error}") from error
        self._check_size(model.input_shape[1])
        return model

    def scores(self, logits) -> np.ndarray:
        """Return calibrated P(fake) for logits: sigmoid(logit / temperature), float64."""
        return probability(logits, self.temperature)

    def _check_size(self, side) -> None:
        if side != self.protocol.image_size:
            raise DetectorError(
                f"detector {self.name} takes pictures of {side} pixels, but its card says "
                f"{self.protocol.image_size}: card and model do not belong together"
            )


def list_detectors(folder: Path = SHIPPED) -> dict[str, Detector]:
    """Return the detectors of a folder by name; by default those that come with the package."""
    return {path.stem: _read(path) for path in sorted(Path(folder).glob("*.json"))}


def open_detector(which: str | Path | None = None, folder: Path = SHIPPED) -> Detector:
    """Return a detector: a shipped one by name, any by one of its files, or the default one.

    Parameters
    ----------
    which : str or path, optional
        A name in `folder`, or a .keras, .tflite or .json file with the card beside it.
    folder : Path

    Raises
    ------
    DetectorError
        If there is none; it says what there is.
    """
    if which is not None and Path(which).suffix in (".json", *HASHES):
        card = Path(which).with_suffix(".json")
        if not Path(which).is_file() or not card.is_file():
            missing = card if Path(which).is_file() else which
            raise DetectorError(
                f"{missing} is missing; a detector is a .keras or .tflite file "
                "with its .json card beside it"
            )
        return _read(card)
    found = list_detectors(folder)
    if which is None:
        chosen = [name for name, detector in found.items() if detector.card.get("default")]
        which = (chosen or list(found) or [None])[0]
    if which not in found:
        known = ", ".join(found) or "none in this installation"
        named = f"no detector is named {which!r}" if which else "there is no detector to use"
        raise DetectorError(f"{named}; there is: {known}. Name one, or a .keras or .tflite file")
    return found[which]


def _read(path: Path) -> Detector:
    try:
        card = read_json(path)
    except ValueError as error:
        raise DetectorError(str(error)) from error
    if not isinstance(card, dict):
        raise DetectorError(f"{path} is no card of a detector: it holds a {type(card).__name__}")
    return Detector(path.stem, path.parent, card)
