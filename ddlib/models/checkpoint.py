"""A detector on disk: the Keras file and a JSON file beside it that says what made it."""

from pathlib import Path

import numpy as np

from ddlib._io import atomic_write, digest, file_digest, write_json
from ddlib.protocol import Protocol


def save_detector(detector, path: Path, protocol: Protocol, provenance: dict | None = None) -> Path:
    """Write the detector to ``path`` (.keras) and what made it to a .json beside it."""
    path = Path(path)
    if path.suffix != ".keras":
        raise ValueError(f"{path} must end in .keras, Keras's own format")
    with atomic_write(path) as unfinished:
        detector.save(unfinished)
        facts = {
            "protocol": protocol.to_dict(),
            "sha256": file_digest(unfinished),
            "provenance": provenance or {},
        }
        write_json(path.with_suffix(".json"), facts)
    return path


def weights_digest(model) -> str:
    """Return the digest of a model's weights, in order."""
    return digest(*(np.ascontiguousarray(array).tobytes() for array in model.get_weights()))
