"""The study's own numbers, and the rules by which ours are set beside them.

The numbers are those of "Deepfake Facial Imagery Detection" (course project, 2024; A. Zhang,
A. Jin, A. Xiang), read from its reports (rep).
"""

import pandas as pd

from ddlib.metrics.intervals import Z95
from ddlib.protocol import CONDITIONS
from ddlib.study.results import is_simulated

# A number of the study is held if it lies in our 95 % interval widened by this much on both sides:
# the images are other ones, and fewer.
TOLERANCE = 0.05
# Chance is 0.5. The validation images that measure the AUC also chose the best of several epochs,
# so that a network of no worth is a little better than chance on them.
LEARNED_FROM = 0.55
MIN_IMAGES = 8  # of each class that a measure counts; fewer cannot tell
Z99 = 2.5758293035489004  # the normal distribution's 99.5 % quantile
MAX_P = 0.05  # of an exact test, from which a difference is not shown
MIN_EFFECT = 0.02  # a difference of shares below this is not worth a sentence
# On simulated images only the shape can be compared: both numbers high, from this share upward, or
# both low: an accuracy below it, a recall of at most the second.
SHAPE_THRESHOLD = 0.75
LOW_RECALL = 0.25

# Table, test set (Table 1: half real, half fake; Table 2: fakes only), measure, images, where it
# was read, and the numbers of the conditions GAN, GAN with ELA, GAN + SD, GAN + SD with ELA.
# The study reports accuracy on 54 cats and 1 real as 0.0182 = 1 of 55. Whether the one right
# verdict was the real photo or a fake is not said, so the recall of its fakes is 0 or 1 of 54.
# Its 0.516 is of 250 SD 1.4 faces and 250 LFW photographs; of which set its other three numbers on
# Stable Diffusion are is not said, and they are taken to be of as many.
_NUMBERS = [
    ("Table 1", "gan", "accuracy", 20_000, "rep", [0.941, 0.834, 0.860, 0.793]),
    ("Table 1", "sd", "accuracy", 500, "rep", [0.516, 0.50, 0.98, 1.000]),
    ("Table 2", "sd15", "recall_fake", 200, "rep", [0.015, 0.0, 1.0, 1.0]),
    ("Table 2", "sd21", "recall_fake", 200, "rep", [0.015, 0.0, 1.0, 1.0]),
    ("Table 2", "sdxl", "recall_fake", 200, "rep", [0.030, 0.0, 1.0, 1.0]),
    ("Elsewhere", "cats", "recall_fake", 55, "rep: 54 fakes and 1 real counted together", [0.0182]),
    ("Elsewhere", "ciplab", "accuracy", 2041, "rep", [0.5326]),
]
# Simulated generators that stand for the study's sets.
STANDS_FOR = {"sim-sd512": "sd15", "sim-sd768": "sd21", "sim-sd1024": "sdxl"}


def reference_table() -> pd.DataFrame:
    """Return the study's numbers: table, test_set, condition, measure, study, study_n, read_in."""
    rows = []
    for table, test_set, measure, n, read_in, values in _NUMBERS:
        for condition, value in zip(CONDITIONS, values, strict=False):
            rows.append((table, test_set, condition, measure, value, n, read_in))
    columns = ["table", "test_set", "condition", "measure", "study", "study_n", "read_in"]
    return pd.DataFrame(rows, columns=columns)


def compare_with_study(results: pd.DataFrame) -> pd.DataFrame:
    """Set our results beside the study's numbers, with a verdict each.

    Parameters
    ----------
    results : DataFrame
        Rows of one tier and one protocol, columns as in ``runs/<tier>/results.csv``.

    Returns
    -------
    DataFrame
        The study's rows with ``our_set``, ``ours``, ``low``, ``high``, ``n`` (NaN if not run) and
        ``verdict``. On real images it is "held" (the study's number lies in our 95 % interval
        widened by `TOLERANCE`) or "not held". On simulated images it is "same shape" (both numbers
        are high, or both low: `SHAPE_THRESHOLD`, `LOW_RECALL`) or "other shape". With fewer than
        `MIN_IMAGES` of a class it is "cannot be told", of a network that did not learn "did not
        learn", without a result "not run".
    """
    ours = {}
    for row in results.to_dict("records"):
        ours[STANDS_FOR.get(row["test_set"], row["test_set"]), row["condition"]] = row
    study = reference_table()
    table = pd.DataFrame([_compare(row, ours) for row in study.to_dict("records")])
    return table.reindex(columns=[*study, "our_set", "ours", "low", "high", "n", "verdict"])


def has_learned(row: dict) -> bool:
    """Return whether a result's network ranks the validation images better than chance.

    It did not if the 95 % interval of its validation AUC does not lie above `LEARNED_FROM`, or is
    not known because one class has a single image.
    """
    return bool(row["valid_auc_low"] > LEARNED_FROM)


def judge_difference(
    difference: float,
    low: float,
    high: float,
    counts,
    learned: bool = True,
    among_many: bool = False,
    p_value: float = 0.0,
) -> str:
    """Return whether a difference of two shares may be claimed: "higher", "lower" or why not.

    One of less than `MIN_EFFECT` is called so; one that surely is that small, too small.

    Parameters
    ----------
    difference, low, high : float
        The difference and its 95 % interval.
    counts : sequence of int
        Images on each side; fewer than `MIN_IMAGES` on one cannot tell.
    learned : bool
        Whether all networks that are compared have learned (`has_learned`).
    among_many : bool
        Whether the difference was picked from many: its interval is then widened to 99 %.
    p_value : float
        Of an exact test, where there is one; it must be below 0.05 as well. With few images that
        two models disagree on it is stricter than the interval.

    Examples
    --------
    >>> judge_difference(0.2, 0.1, 0.3, [50, 50]), judge_difference(0.2, -0.1, 0.5, [9, 9])
    ('higher', 'no difference shown')
    >>> judge_difference(0.01, 0.002, 0.03, [50, 50])
    'higher, but perhaps by less than 2 points'
    """
    if not learned:
        return "nothing to compare: a network did not learn"
    if not all(n >= MIN_IMAGES for n in counts):
        return f"cannot be told: fewer than {MIN_IMAGES} images on one side"
    if among_many:
        low, high = (difference + (end - difference) * Z99 / Z95 for end in (low, high))
    if not (0 < low <= high or low <= high < 0) or not p_value < MAX_P:  # NaN too
        return "no difference shown"
    points = f"{100 * MIN_EFFECT:.0f} points"
    if max(abs(low), abs(high)) < MIN_EFFECT:
        return f"too small to matter (below {points})"
    word = "higher" if difference > 0 else "lower"
    return word if abs(difference) >= MIN_EFFECT else f"{word}, but perhaps by less than {points}"


def _compare(row: dict, ours: dict) -> dict:
    measure = row["measure"]
    mine = ours.get((row["test_set"], row["condition"]))
    if mine is None or pd.isna(mine[measure]):
        return row | {"verdict": "not run"}
    counts = [mine["n_fake"], mine["n_real"]] if measure == "accuracy" else [mine["n_fake"]]
    value, low, high = mine[measure], mine[f"{measure}_low"], mine[f"{measure}_high"]
    if not has_learned(mine):
        verdict = "did not learn"
    elif min(counts) < MIN_IMAGES:
        verdict = "cannot be told"
    elif is_simulated(mine["tier"]):
        same = _height(row["study"], measure) == _height(value, measure)
        verdict = "same shape" if same else "other shape"
    else:
        inside = low - TOLERANCE <= row["study"] <= high + TOLERANCE
        verdict = "held" if inside else "not held"
    found = {"our_set": mine["test_set"], "ours": value, "low": low, "high": high}
    return row | found | {"n": int(sum(counts)), "verdict": verdict}


def _height(share: float, measure: str) -> str:
    """Return whether a share is high, low or, of a recall, between."""
    if share >= SHAPE_THRESHOLD:
        return "high"
    return "between" if measure != "accuracy" and share > LOW_RECALL else "low"
