"""Near-copies: images that show the same picture, saved again, resized or recompressed.

An exact copy has the same bytes; a near-copy does not, and still gives a test away when its twin is
in training. The perceptual hashes of two images (`ddlib.images.phash`) are compared by the bits in
which they differ. A crop, a mirrored picture or another frame of the same video is not found.
"""

import numpy as np
import pandas as pd

from ddlib.data.manifest import Reason, exclude
from ddlib.images.phash import BITS

# Bits in which two near-copies may differ. Saved again at quality 20 to 90, or reduced to a third,
# 400 training and validation pictures of the tier large moved by at most 12 bits. Different faces
# of its splits train and valid differ by 16 or more, fakes and photographs by 22. (Of the 64 bits
# that are usual for such a hash, aligned faces of different people differ by 6 in dozens of pairs.)
MOST_BITS = 14
_BLOCK = 256  # hashes that are compared with all others at once


def near_copies(hashes, others, most_bits: int = MOST_BITS) -> tuple[np.ndarray, np.ndarray]:
    """Return for each hash the position of the nearest of the others, and how many bits differ.

    Parameters
    ----------
    hashes, others : sequences of str or None
        As of `ddlib.images.phash.perceptual_hash`; None is near to nothing.
    most_bits : int
        From more bits on nothing counts as near.

    Returns
    -------
    positions, bits : (N,) int arrays
        -1 in both where nothing is near.
    """
    (mine, own), (theirs, signs) = _signs(hashes), _signs(others)
    positions, bits = np.full(len(hashes), -1), np.full(len(hashes), -1)
    if not len(theirs):
        return positions, bits
    for start in range(0, len(mine), _BLOCK):
        here, block = mine[start : start + _BLOCK], own[start : start + _BLOCK]
        alike = block @ signs.T  # equal bits less unequal ones, exact in float32
        nearest = alike.argmax(axis=1)
        fewest = (signs.shape[1] - alike.max(axis=1)) / 2
        near = fewest <= most_bits
        positions[here[near]], bits[here[near]] = theirs[nearest[near]], fewest[near]
    return positions, bits


def drop_near_copies(table: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Exclude test images that are near-copies, but not copies, of train or valid images."""
    test = table["split"] == "test"
    tested, others = table[test], table[~test]
    positions, bits = near_copies(list(tested["phash"]), list(others["phash"]))
    exact = tested["sha256"].isin(others["sha256"]).to_numpy()  # an error of `check_manifest`
    near = (positions >= 0) & ~exact
    twins = others.iloc[positions[near]]
    reasons = [
        f"near-copy of {row.path} in the {row.split} split; {n} of {BITS} bits differ"
        for row, n in zip(twins.itertuples(), bits[near], strict=True)
    ]
    paths = tested["path"][near]
    return table.drop(paths.index), exclude(paths, Reason.NEAR_COPY, reasons)


def mixed_labels(table: pd.DataFrame) -> list[str]:
    """Return a line for each fake image that is a near-copy of a real one."""
    fake = table["label"] == "fake"
    fakes, reals = table[fake], table[~fake]
    positions, _ = near_copies(list(fakes["phash"]), list(reals["phash"]))
    return [
        f"{path} (fake) and {reals['path'].iloc[place]} (real)"
        for path, place in zip(fakes["path"], positions, strict=True)
        if place >= 0
    ]


def _signs(hashes) -> tuple[np.ndarray, np.ndarray]:
    """Return where there is a hash (N,), and the bits of each hash as -1 and 1 (N, bits)."""
    there = [place for place, text in enumerate(hashes) if isinstance(text, str)]
    data = np.frombuffer(bytes.fromhex("".join(hashes[place] for place in there)), np.uint8)
    bits = np.unpackbits(data).reshape(len(there), -(-BITS // 8) * 8)
    return np.array(there, int), bits.astype(np.float32) * 2 - 1
