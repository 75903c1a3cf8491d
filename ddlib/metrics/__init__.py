"""From scores to numbers with intervals: accuracy, recall, AUC, calibration, agreement."""

from ddlib.metrics.calibration import (
    ece,
    evaluate_reject_band,
    probability,
    reject_band,
    reliability,
    temperature,
    threshold_at_fpr,
    youden,
)
from ddlib.metrics.format import (
    column_with_interval,
    display_name,
    p_text,
    percent,
    styled,
    summary,
    with_interval,
)
from ddlib.metrics.intervals import mean_interval, wilson
from ddlib.metrics.roc_auc import auc, check_scores
from ddlib.metrics.score_table import agreement, compare, score_table
