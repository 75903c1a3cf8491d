"""The same network, the same pictures, another preparation: what of a score is preparation."""

from __future__ import annotations

import numpy as np

from ddlib.batches import load_images
from ddlib.manifest import Manifest
from ddlib.store import Store

# Fields of a Protocol that say how a picture is prepared and leave the network's input size alone.
CHANGEABLE = ("crop", "resize", "jpeg_quality", "ela_quality", "ela_inverted")


def rescore(run, chosen: Manifest, store: Store | None = None, **changes) -> np.ndarray:
    """Return the scores that a trained run gives to pictures prepared in another way.

    Parameters
    ----------
    run : ddlib.study.Run
    chosen : Manifest
        The pictures. Prepared as the run prepares them, they must be ones that it has scored.
    store : Store, optional
        Where prepared pictures are kept.
    **changes
        Preparation fields of the run's protocol to set otherwise: `CHANGEABLE`.

    Returns
    -------
    (N,) float64
        P(fake), in the order of the manifest.

    Raises
    ------
    ValueError
        If a change is no matter of preparation.
    """
    from ddlib.training import fastest

    for name, value in changes.items():
        if name not in CHANGEABLE:
            raise ValueError(f"{name}={value!r} is no preparation; change {', '.join(CHANGEABLE)}")
    protocol = run.protocol.but(**changes)
    if protocol == run.protocol:
        return run.scores_of(chosen)["score"].to_numpy()
    pictures = load_images(chosen, protocol, store)
    forward = fastest(run.detector)
    scores = [forward(batch)[:, 0] for batch in pictures.chunks(64)]
    return np.concatenate(scores).astype("float64")
