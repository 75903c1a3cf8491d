"""Charts, galleries and interactive views."""

from ddlib.viz.pictures import (
    ela_pairs,
    image_grid,
    overlay_grid,
    sample_right_and_wrong,
    spectrum,
    worst_errors,
)
from ddlib.viz.results import bars, compare_with_study_chart, heat_share, result_dots
from ddlib.viz.scores import confusion, reliability, robustness, roc, score_histogram, thresholds
from ddlib.viz.style import save_chart
from ddlib.viz.training import curves, deletion_insertion, latency, randomization, training_history

__all__ = [
    "bars",
    "compare_with_study_chart",
    "confusion",
    "curves",
    "deletion_insertion",
    "ela_pairs",
    "heat_share",
    "image_grid",
    "latency",
    "overlay_grid",
    "randomization",
    "reliability",
    "result_dots",
    "robustness",
    "roc",
    "sample_right_and_wrong",
    "save_chart",
    "score_histogram",
    "spectrum",
    "thresholds",
    "training_history",
    "worst_errors",
]
