"""From scores to figures: accuracy, recall, AUC, calibration, each with its interval."""

from ddlib.metrics.agreement import agreement
from ddlib.metrics.calibration import (
    ece,
    evaluate_reject_band,
    logits,
    nll,
    probability,
    reject_band,
    reliability,
    temperature,
    tempered,
    threshold_at_fnr,
    threshold_at_fpr,
    verdicts,
    youden,
)
from ddlib.metrics.format import format_table, percent, with_interval
from ddlib.metrics.intervals import (
    bootstrap_interval,
    difference,
    mcnemar,
    paired_difference,
    wilson,
)
from ddlib.metrics.roc_auc import auc, auc_difference, average_precision, check_scores
from ddlib.metrics.score_table import compare, real_is_positive, score_table

__all__ = [
    "agreement",
    "auc",
    "auc_difference",
    "average_precision",
    "bootstrap_interval",
    "check_scores",
    "compare",
    "difference",
    "ece",
    "evaluate_reject_band",
    "format_table",
    "logits",
    "mcnemar",
    "nll",
    "paired_difference",
    "percent",
    "probability",
    "real_is_positive",
    "reject_band",
    "reliability",
    "score_table",
    "temperature",
    "tempered",
    "threshold_at_fnr",
    "threshold_at_fpr",
    "verdicts",
    "wilson",
    "with_interval",
    "youden",
]
