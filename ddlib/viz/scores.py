"""Charts of scores: their distribution, ROC, calibration, thresholds, robustness."""

from __future__ import annotations

import numpy as np
import pandas as pd

from ddlib.metrics.format import display_name
from ddlib.metrics.roc_auc import auc, check_scores
from ddlib.protocol import FAKE, REAL
from ddlib.viz.style import (
    BLUE,
    DASHES,
    FAINT,
    INK,
    VERMILLION,
    chart,
    error_bars,
    legend,
    line_with_band,
    with_style,
)

CLASSES = {REAL: (BLUE, "real", ""), FAKE: (VERMILLION, "fake", "////")}
_STRENGTHS = {  # of each kind of `ddlib.images.perturb`, for an axis
    "jpeg": "JPEG quality",
    "blur": "blur (sigma)",
    "resize": "resized to",
    "crop": "cropped to",
    "noise": "noise (sigma)",
}


@with_style
def score_histogram(sets: dict, threshold: float = 0.5, bins: int = 25, title: str | None = None):
    """Return the distribution of scores, a panel a set, each class summing to 100 %.

    Parameters
    ----------
    sets : {name: (labels, scores)}
    threshold : float
        Drawn as a line; called fake from there upward.
    bins : int
        Of equal width on [0, 1].
    title : str, optional
    """
    import seaborn as sns  # loaded for two charts only: it takes a second

    columns, rows = min(2, len(sets)), -(-len(sets) // 2)
    title = title or "Where the scores of reals and fakes lie"
    figure, axes = chart(0.9 + 1.75 * rows, rows, columns, title)
    edges = np.linspace(0, 1, bins + 1)
    for ax, (name, (labels, scores)) in zip(axes.flat, sets.items(), strict=False):
        labels, scores = check_scores(labels, scores)
        counts = []
        for label, (color, word, hatch) in CLASSES.items():
            own = scores[labels == label]
            if len(own):
                counts.append(f"{len(own):,} {word}")
                look = {"color": color, "alpha": 0.3, "edgecolor": color, "hatch": hatch}
                kind = {"bins": edges, "stat": "percent", "element": "step", "label": word}
                sns.histplot(x=own, ax=ax, **kind, **look)
        ax.axvline(threshold, color=INK, lw=1, ls="--", label=f"threshold {threshold:g}")
        ax.set_title(f"{display_name(name)}: {', '.join(counts)}")
        ax.set(xlim=(0, 1), xlabel="score, P(fake)", ylabel="")
    for ax in axes.flat[len(sets) :]:
        ax.set_visible(False)
    figure.supylabel("share of the class (%)", fontsize=9.5)
    legend(figure)
    return figure


@with_style
def roc(sets: dict, title: str = "Fakes found against reals called fake"):
    """Return ROC curves of {name: (labels, scores)}, with AUC and its 95 % interval."""
    from sklearn.metrics import roc_curve

    figure, axes = chart(4.2 + 0.2 * len(sets), title=title, width=4.6)
    ax = axes[0][0]
    for name, (labels, scores) in sets.items():
        labels, scores = check_scores(labels, scores)
        area, low, high = auc(labels, scores)
        label = f"{display_name(name)}: AUC {area:.3f} [{low:.3f}, {high:.3f}]"
        alarms, found, _ = roc_curve(labels, scores)
        ax.plot(alarms, found, marker="", label=label)
    ax.plot([0, 1], [0, 1], color=FAINT, lw=1, ls=":", marker="")
    ax.set(xlabel="share of reals called fake", ylabel="share of fakes called fake")
    ax.set(xlim=(-0.01, 1.01), ylim=(-0.01, 1.01), aspect="equal")
    legend(figure, columns=1)
    return figure


@with_style
def confusion(counts: dict, title: str = "What the detector calls reals and fakes"):
    """Return the four counts of `ddlib.metrics.score_table` (tn, fp, fn, tp) as a square."""
    import seaborn as sns

    cells = np.array([[counts["tn"], counts["fp"]], [counts["fn"], counts["tp"]]])
    reals, fakes = cells.sum(axis=1)
    shares = cells / np.maximum([[reals], [fakes]], 1)
    figure, axes = chart(3.0, title=title, width=4.4)
    ax = axes[0][0]
    texts = [f"{n:,}\n{share:.1%}" for n, share in zip(cells.flat, shares.flat, strict=True)]
    look = {"fmt": "", "cmap": "Blues", "vmin": 0, "vmax": 1.15, "cbar": False}
    sns.heatmap(shares, annot=np.reshape(texts, (2, 2)), ax=ax, **look)
    ax.set_xticklabels(["called real", "called fake"])
    ax.set_yticklabels([f"real\n(n={reals:,})", f"fake\n(n={fakes:,})"], rotation=0)
    return figure


@with_style
def reliability(tables: dict, title: str = "Do scores mean what they say?"):
    """Return the share of fakes against the mean score, bin by bin, with the bins' sizes below.

    The tables are {name: DataFrame}, as from `ddlib.metrics.calibration.reliability`.
    """
    figure, axes = chart(4.6, rows=2, title=title, sharex=True, height_ratios=[3, 1])
    (ax,), (sizes,) = axes
    for name, table in tables.items():
        reach = error_bars(table, "share_fake")
        ax.errorbar(table["mean_score"], table["share_fake"], reach, elinewidth=1, label=name)
        sizes.plot(table["mean_score"], table["n"], lw=1, ms=4)
    ax.axline((0, 0), (1, 1), color=FAINT, lw=1, ls=":", label="perfect")
    ax.set_ylabel("share that are fake,\nwith 95 % interval")
    ax.set(xlim=(-0.02, 1.02), ylim=(-0.03, 1.03))
    sizes.set(xlabel="mean score of the bin, P(fake)", ylabel="images", ylim=(0, None))
    legend(figure)
    return figure


@with_style
def thresholds(labels, scores, marks: dict | None = None, title: str = "What a threshold costs"):
    """Return both error rates against the threshold; marks are {name: threshold}."""
    labels, scores = check_scores(labels, scores)
    cuts = np.linspace(0, 1, 501)
    real, fake = (np.sort(scores[labels == label]) for label in (REAL, FAKE))
    alarms = 1 - np.searchsorted(real, cuts) / len(real)
    misses = np.searchsorted(fake, cuts) / len(fake)
    figure, axes = chart(3.4, title=title)
    ax = axes[0][0]
    ax.plot(cuts, alarms, marker="", label=f"reals called fake (n={len(real):,})")
    ax.plot(cuts, misses, marker="", label=f"fakes called real (n={len(fake):,})")
    for i, (name, cut) in enumerate((marks or {}).items()):
        label = f"{name}: {cut:.3f}"
        ax.axvline(min(cut, 1), color=FAINT, lw=1.2, ls=DASHES[(i + 2) % 7], label=label)
    ax.set(xlabel="threshold on the score, P(fake)", ylabel="share of the class")
    ax.set(xlim=(0, 1), ylim=(-0.02, 1.02))
    legend(figure, columns=3)
    return figure


@with_style
def robustness(
    table: pd.DataFrame,
    measures=("accuracy", "flips"),
    by: str | None = None,
    title: str = "What perturbed images do to the verdicts",
):
    """Return measures against the strength of each kind of perturbation, harsher to the right.

    Parameters
    ----------
    table : DataFrame
        As from `ddlib.deploy.robustness.sweep`.
    measures : sequence of str
        Columns, a row of panels each.
    by : str, optional
        Column that tells the curves apart, such as the detector.
    title : str
    """
    kinds = [kind for kind in table["perturbation"].unique() if kind != "none"]
    groups = list(table.groupby(by, sort=False)) if by else [(None, table)]
    steps = [table.loc[table["perturbation"] == kind, "strength"].nunique() for kind in kinds]
    ratios, height = [n + 1.5 for n in steps], 1.2 + 1.6 * len(measures)
    shape = {"sharex": "col", "sharey": "row", "width_ratios": ratios}
    figure, axes = chart(height, len(measures), len(kinds), title, **shape)
    for row, measure in zip(axes, measures, strict=True):
        row[0].set_ylabel(display_name(measure))
        for ax, kind in zip(row, kinds, strict=True):
            for name, part in groups:
                own = part[part["perturbation"].isin(["none", kind])]
                low, high = own[f"{measure}_low"], own[f"{measure}_high"]
                line_with_band(ax, range(len(own)), own[measure], low, high, name)
            ticks = ["as is", *(f"{s:g}" for s in own["strength"].dropna())]
            ax.set_xticks(range(len(ticks)), ticks, rotation=90, fontsize=8)
            ax.set_ylim(-0.03, 1.03)
    for ax, kind in zip(axes[-1], kinds, strict=True):
        ax.set_xlabel(_STRENGTHS.get(kind, kind))
    if by:
        legend(figure, columns=3)
    return figure
