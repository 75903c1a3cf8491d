"""Which pictures to look at: a model's worst errors, or equally many right and wrong decisions."""

from __future__ import annotations

import numpy as np

from ddlib.metrics import check
from ddlib.protocol import FAKE, REAL

# A false real is a fake that passed, a false fake is a photograph that was accused.
ERRORS = {"false real": FAKE, "false fake": REAL}


def errors(labels, scores, kind: str, n: int = 6, threshold: float = 0.5) -> np.ndarray:
    """Return the positions of up to n errors of a kind, the most certain first.

    Parameters
    ----------
    labels : (N,) array of 0 (real) and 1 (fake)
    scores : (N,) array, P(fake)
    kind : {"false real", "false fake"}
    n : int
    threshold : float

    Returns
    -------
    (m,) int array, m <= n; empty if the model made no such error.

    Examples
    --------
    >>> errors([1, 1, 1, 0], [0.4, 0.1, 0.9, 0.8], "false real").tolist()
    [1, 0]
    """
    labels, scores = check(labels, scores)
    if kind not in ERRORS:
        raise ValueError(f"kind={kind!r} is not known; choose from {', '.join(ERRORS)}")
    wrong = (labels == ERRORS[kind]) & ((scores >= threshold) != (labels == FAKE))
    positions = np.flatnonzero(wrong)
    doubt = scores[positions] if kind == "false real" else -scores[positions]
    return positions[np.argsort(doubt, kind="stable")][:n]


def balanced(labels, scores, n: int, seed: int = 0, threshold: float = 0.5) -> np.ndarray:
    """Return about n positions: equally many right and wrong decisions of both classes.

    Parameters
    ----------
    labels, scores, threshold
        As in `errors`.
    n : int
        A quarter for each of the four cases; a case with fewer pictures gives all it has.
    seed : int
        Of the draw.

    Returns
    -------
    (m,) int array in rising order, m <= n
    """
    labels, scores = check(labels, scores)
    right = (scores >= threshold) == (labels == FAKE)
    rng, drawn = np.random.default_rng(seed), []
    for label in (REAL, FAKE):
        for outcome in (True, False):
            case = rng.permutation(np.flatnonzero((labels == label) & (right == outcome)))
            drawn.append(case[: n // 4])
    return np.sort(np.concatenate(drawn))
