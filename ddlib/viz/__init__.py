"""Charts, galleries and interactive views."""

from ddlib.viz.pictures import (
    ela_pairs,
    image_grid,
    overlay_grid,
    sample_right_and_wrong,
    spectrum,
    worst_errors,
)
from ddlib.viz.results import bars, compare_with_study_chart, result_dots
from ddlib.viz.scores import confusion, reliability, score_histogram, thresholds
from ddlib.viz.sweeps import batch_norm_statistics, learning_curve, new_runs
from ddlib.viz.training import curves, deletion_insertion, robustness, training_history
