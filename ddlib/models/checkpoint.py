"""A detector on disk: the Keras file and a JSON file that says what made it."""

from __future__ import annotations

from pathlib import Path

import keras
import numpy as np

from ddlib._io import atomic_write, digest, file_digest, read_json, write_json
from ddlib.protocol import Protocol


def save_detector(
    detector: keras.Model, path: Path, protocol: Protocol, provenance: dict | None = None
) -> Path:
    """Write the detector to ``path`` (.keras) and what made it to a .json beside it, atomically."""
    path = Path(path)
    if path.suffix != ".keras":
        raise ValueError(f"{path} must end in .keras, Keras's own format")
    with atomic_write(path) as unfinished:
        detector.save(unfinished)
        card = {
            "protocol": protocol.to_dict(),
            "sha256": file_digest(unfinished),
            "provenance": provenance or {},
        }
        write_json(path.with_suffix(".json"), card)
    return path


def load_detector(path: Path) -> tuple[keras.Model, Protocol, dict]:
    """Load what `save_detector` wrote, in Keras's safe mode: (detector, protocol, provenance).

    Raises
    ------
    FileNotFoundError
        If the model or the .json beside it is missing.
    ValueError
        If the model file is not the one that the .json describes.
    """
    path = Path(path)
    for file in (path, path.with_suffix(".json")):
        if not file.is_file():
            raise FileNotFoundError(f"{file} is missing; a detector is a .keras and a .json file")
    card = read_json(path.with_suffix(".json"))
    if file_digest(path) != card["sha256"]:
        raise ValueError(f"{path} is not the file that {path.stem}.json describes: hashes differ")
    detector = keras.models.load_model(path, compile=False, safe_mode=True)
    return detector, Protocol.from_dict(card["protocol"]), card["provenance"]


def weights_digest(model: keras.Model) -> str:
    """Return the digest of a model's weights, in order."""
    return digest(*(np.ascontiguousarray(array).tobytes() for array in model.get_weights()))
