"""Trained detectors on disk: found by name or file, checked against their card, then loaded.

A detector is up to three files of one name. ``NAME.json``, the card, says what made it and how its
score is read (`ddlib.deploy.model_card.Card`); ``NAME.tflite`` scores; ``NAME.keras`` explains.
Those that come with the package lie in ``ddlib/deploy/checkpoints``. No model is loaded before its
hash is checked, and nothing is unpickled.
"""

import os
from dataclasses import dataclass, field
from functools import cached_property
from operator import attrgetter
from pathlib import Path

import numpy as np

from ddlib._utils import file_digest
from ddlib.deploy.model_card import Card
from ddlib.deploy.scorer import DetectorError, Scorer
from ddlib.images.read import list_sources
from ddlib.metrics.calibration import probability

SHIPPED = Path(__file__).parent / "checkpoints"
FILES = "a detector is a .keras or .tflite file with its .json card beside it"


@dataclass(frozen=True, eq=False)
class Detector:
    """A detector's card and the folder of its files; a model is loaded when it is first needed."""

    card: Card
    folder: Path
    _scorers: dict = field(default_factory=dict, init=False, repr=False)

    name = property(attrgetter("card.name"), doc="The stem of its files.")
    protocol = property(attrgetter("card.protocol"), doc="How images are prepared for it.")
    temperature = property(attrgetter("card.temperature"), doc="Divides the logit.")
    threshold = property(attrgetter("card.threshold"), doc="Fake from this score upward.")
    reject_band = property(attrgetter("card.reject_band"), doc="Unsure between these scores.")

    def predict(self, source, face: bool = False):
        """Return the `ddlib.deploy.predict.Prediction` for one image, or a list for several.

        `source` is what `ddlib.images.read.list_sources` takes: a path, a folder, an image or
        images as arrays, or a list of these. A file that cannot be read has an ``error`` and no
        score. With `face` the largest face is cut out first (needs OpenCV 4).

        Examples
        --------
        >>> answer = open_detector("mobilenet025").predict(np.zeros((300, 300, 3), np.uint8))
        >>> answer.verdict in ("real", "unsure", "fake")
        True
        """
        from ddlib.deploy.predict import predict_files

        is_folder = isinstance(source, (str, os.PathLike)) and os.path.isdir(source)  # noqa: PTH112
        several = isinstance(source, (list, tuple)) or is_folder or getattr(source, "ndim", 3) == 4
        rows = list(predict_files(list_sources(source), self, self.scorer(), face))
        return rows if several else rows[0]

    def scores(self, logits) -> np.ndarray:
        """Return calibrated P(fake) for logits: sigmoid(logit / temperature), float64."""
        return probability(logits, self.temperature)

    def scorer(self, workers: int | None = None) -> Scorer:
        """Return what scores prepared images fast, on so many threads; it is made once.

        A model that is damaged or takes images of another size than the card says is a
        DetectorError.
        """
        if workers not in self._scorers:
            scorer = Scorer(self.litert_model(), workers, str(self.folder / self.name))
            self._check_size(scorer.image_size)
            self._scorers[workers] = scorer
        return self._scorers[workers]

    def litert_model(self) -> bytes:
        """Return what is in the .tflite file; without one, the Keras model converted (seconds)."""
        if self.card.tflite_sha256:
            return self._file(".tflite", self.card.tflite_sha256).read_bytes()
        from ddlib.deploy.export import convert

        return convert(self.keras_model())

    def keras_model(self):
        """Return the Keras model, loaded in safe mode: code inside a file is not run."""
        import keras

        path = self._file(".keras", self.card.sha256)
        try:
            model = keras.models.load_model(path, compile=False, safe_mode=True)
        except Exception as error:  # Keras raises whatever its parts raise
            raise DetectorError(f"{path} cannot be read as a Keras model: {error}") from error
        self._check_size(model.input_shape[1])
        return model

    @cached_property
    def grad_cam(self):
        """The detector's `ddlib.gradcam.GradCAM`."""
        from ddlib.gradcam import GradCAM

        return GradCAM(self, batch_size=1)

    def _file(self, suffix: str, sha256: str | None) -> Path:
        path = self.folder / f"{self.name}{suffix}"
        if not sha256 or not path.is_file():
            raise DetectorError(f"detector {self.name} has no {suffix} file in {self.folder}")
        if file_digest(path) != sha256:
            raise DetectorError(
                f"{path} is not the file that {self.name}.json describes: hashes differ. It was "
                "damaged or changed: install or train it again"
            )
        return path

    def _check_size(self, side: int) -> None:
        if side != self.protocol.image_size:
            raise DetectorError(
                f"detector {self.name} takes images of {side} pixels, but its card says "
                f"{self.protocol.image_size}: card and model do not belong together"
            )


def list_detectors() -> dict[str, Detector]:
    """Return the detectors that come with the package, by name."""
    cards = [Card.read(path) for path in sorted(SHIPPED.glob("*.json"))]
    return {card.name: Detector(card, SHIPPED) for card in cards}


def open_detector(which: str | Path | None = None) -> Detector:
    """Return a detector: a shipped one by name, any by one of its files, or the default one.

    Parameters
    ----------
    which : str or path, optional
        The name of a shipped detector, or a .keras, .tflite or .json file with its card beside it.

    Raises
    ------
    DetectorError
        If there is none of that name or file; the message names those that there are.

    Examples
    --------
    >>> detector = open_detector("mobilenet025")
    >>> detector.protocol.image_size, detector.threshold
    (256, 0.5)
    """
    if which is not None and Path(which).suffix in (".json", ".keras", ".tflite"):
        for file in (Path(which), Path(which).with_suffix(".json")):
            if not file.is_file():
                raise DetectorError(f"{file} is missing; {FILES}")
        return Detector(Card.read(file), file.parent)
    found = list_detectors()
    if which is None:
        which = next((name for name, each in found.items() if each.card.default), None)
    if which not in found:
        known = ", ".join(found) or "none in this installation"
        named = f"no detector is named {which!r}" if which else "there is no detector to use"
        raise DetectorError(f"{named}; there is: {known}. Name one, or a file of one: {FILES}")
    return found[which]
