"""Charts of scores: how they spread, what a threshold makes of them, whether they mean it.

And what is left of the verdicts once pictures are disturbed.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from ddlib.metrics.roc_auc import auc, check_scores
from ddlib.protocol import FAKE, REAL
from ddlib.viz.style import (
    BLUE,
    CYCLE,
    DASHES,
    FAINT,
    INK,
    MARKERS,
    VERMILLION,
    WORDS,
    chart,
    error_bars,
    legend,
    with_style,
)

_DISTURBANCES = {  # what the strengths of `ddlib.deploy.robustness` are, for an axis
    "jpeg": "JPEG quality",
    "blur": "blur (sigma)",
    "resize": "resized to",
    "crop": "cropped to",
    "noise": "noise (sigma)",
}


@with_style
def score_histogram(sets: dict, threshold: float = 0.5, bins: int = 25, title: str | None = None):
    """Return the spread of scores, a panel a set, each class summing to 100 %.

    Parameters
    ----------
    sets : {name: (labels, scores)}
    threshold : float
        Drawn as a line; called fake from there upward.
    bins : int
        Of equal width on [0, 1].
    title : str, optional
    """
    columns, rows = min(2, len(sets)), -(-len(sets) // 2)
    title = title or "Where the scores of reals and fakes lie"
    figure, axes = chart(0.9 + 1.75 * rows, rows, columns, title, sharex=True)
    looks_of = {REAL: (BLUE, "real", ""), FAKE: (VERMILLION, "fake", "////")}
    for ax, (name, (labels, scores)) in zip(axes.flat, sets.items(), strict=False):
        labels, scores = check_scores(labels, scores)
        counts = []
        for label, (color, word, hatch) in looks_of.items():
            own = scores[labels == label]
            counts += [f"{len(own):,} {word}"] * bool(len(own))
            percent = np.full(len(own), 100 / max(len(own), 1))
            fill = {"edgecolor": color, "facecolor": (color, 0.3), "hatch": hatch}
            ax.hist(own, bins, (0, 1), weights=percent, histtype="stepfilled", **fill)
        ax.axvline(threshold, color=INK, lw=1, ls="--")
        ax.set_title(f"{name}: {', '.join(counts)}")
        ax.set_xlim(0, 1)
    for ax in axes.flat[len(sets) :]:
        ax.set_visible(False)
    for ax in axes.flat[max(0, len(sets) - columns) : len(sets)]:  # the lowest of each column
        ax.set_xlabel("score, P(fake)")
        ax.tick_params(labelbottom=True)
    figure.supylabel("share of the class (%)", fontsize=9.5)
    handles = [
        Patch(ec=color, fc=(color, 0.3), hatch=hatch, label=word)
        for color, word, hatch in looks_of.values()
    ]
    line = Line2D([], [], color=INK, lw=1, ls="--", label=f"threshold {threshold:g}")
    legend(figure, [*handles, line])
    return figure


@with_style
def roc(sets: dict, title: str = "Fakes found against reals accused"):
    """Return ROC curves, with AUC and its 95 % interval in the legend.

    Parameters
    ----------
    sets : {name: (labels, scores)}, each with both classes
    title : str
    """
    figure, axes = chart(4.0, columns=2, title=title, width_ratios=[1.15, 1])
    ax, aside = axes[0]
    for i, (name, (labels, scores)) in enumerate(sets.items()):
        labels, scores = check_scores(labels, scores)
        area, low, high = auc(labels, scores)
        label = f"{name}\nAUC {area:.3f} ({low:.3f} to {high:.3f})"
        cuts = np.append(np.unique(scores), np.inf)
        alarms, found = (
            1 - np.searchsorted(np.sort(scores[labels == k]), cuts) / np.sum(labels == k)
            for k in (REAL, FAKE)
        )
        ax.plot(alarms, found, color=CYCLE[i % 7], ls=DASHES[i % 7], label=label)
    ax.plot([0, 1], [0, 1], color=FAINT, lw=1, ls=":")
    ax.set(xlabel="reals called fake (share)", ylabel="fakes called fake (share)")
    ax.set(xlim=(-0.01, 1.01), ylim=(-0.01, 1.01), aspect="equal")
    aside.set_axis_off()
    aside.legend(*ax.get_legend_handles_labels(), loc="upper left", labelspacing=0.9)
    return figure


@with_style
def confusion(counts: dict, title: str = "What the detector calls reals and fakes"):
    """Return the four counts of `ddlib.metrics.score_table` (tn, fp, fn, tp) as a square."""
    figure, axes = chart(3.0, title=title, width=4.4)
    ax = axes[0][0]
    cells = np.array([[counts["tn"], counts["fp"]], [counts["fn"], counts["tp"]]])
    totals = cells.sum(axis=1, keepdims=True)
    shares = cells / np.maximum(totals, 1)
    ax.imshow(shares, cmap="Blues", vmin=0, vmax=1.15, aspect="auto")
    for (i, j), n in np.ndenumerate(cells):
        note = f"\n{shares[i, j]:.1%}" if totals[i, 0] else ""
        color = "white" if shares[i, j] > 0.6 else INK
        ax.text(j, i, f"{n:,}{note}", ha="center", va="center", color=color, fontsize=11)
    ax.set_xticks([0, 1], ["called real", "called fake"])
    ax.set_yticks([0, 1], [f"real\n(n={totals[0, 0]:,})", f"fake\n(n={totals[1, 0]:,})"])
    ax.grid(False)
    ax.spines[:].set_visible(False)
    return figure


@with_style
def reliability(tables, title: str = "Do scores mean what they say?"):
    """Return the share of fakes against the mean score, bin by bin, with the bins' sizes below.

    Parameters
    ----------
    tables : DataFrame or {name: DataFrame}
        As from `ddlib.metrics.calibration.reliability`.
    title : str
    """
    tables = tables if isinstance(tables, dict) else {"scores": tables}
    figure, axes = chart(4.6, rows=2, title=title, sharex=True, height_ratios=[3, 1])
    (ax,), (sizes,) = axes
    ax.plot([0, 1], [0, 1], color=FAINT, lw=1, ls=":", label="perfect")
    for i, (name, table) in enumerate(tables.items()):
        color, x = CYCLE[i], table["mean_score"]
        ax.errorbar(
            x,
            table["share_fake"],
            error_bars(table, "share_fake"),
            elinewidth=1,
            color=color,
            marker=MARKERS[i],
            ls=DASHES[i],
            label=name,
        )
        sizes.plot(x, table["n"], color=color, marker=MARKERS[i], ls=DASHES[i], lw=1, ms=4)
    ax.set(
        ylabel="share that are fake,\nwith 95 % interval", xlim=(-0.02, 1.02), ylim=(-0.03, 1.03)
    )
    sizes.set(xlabel="mean score of the bin, P(fake)", ylabel="pictures")
    ax.legend(loc="upper left")
    return figure


@with_style
def thresholds(labels, scores, marks: dict | None = None, title: str = "What a threshold costs"):
    """Return both error rates against the threshold, chosen thresholds marked.

    Parameters
    ----------
    labels, scores : (N,) arrays with both classes
    marks : {name: threshold}, optional
    title : str
    """
    labels, scores = check_scores(labels, scores)
    cuts = np.linspace(0, 1, 501)
    figure, axes = chart(3.4, title=title)
    ax = axes[0][0]
    below = {k: np.searchsorted(np.sort(scores[labels == k]), cuts) for k in (REAL, FAKE)}
    ax.plot(cuts, 1 - below[REAL] / np.sum(labels == REAL), color=BLUE, label="reals called fake")
    missed = below[FAKE] / np.sum(labels == FAKE)
    ax.plot(cuts, missed, color=VERMILLION, ls="--", label="fakes called real")
    for i, (name, cut) in enumerate((marks or {}).items()):
        label = f"{name}: {cut:.3f}"
        ax.axvline(min(cut, 1), color=FAINT, lw=1.2, ls=DASHES[(i + 2) % 7], label=label)
    ax.set(xlabel="threshold on the score, P(fake)", ylabel="share of the class", xlim=(0, 1))
    ax.set_ylim(-0.02, 1.02)
    legend(figure, ax.get_legend_handles_labels()[0], columns=3)
    return figure


@with_style
def robustness(
    table: pd.DataFrame,
    measures=("accuracy", "flips"),
    by: str | None = None,
    title: str = "What disturbed pictures do to the verdicts",
):
    """Return measures against the strength of each kind of disturbance, harsher to the right.

    Parameters
    ----------
    table : DataFrame
        As from `ddlib.deploy.robustness.sweep`: disturbance ("none" for pictures as they are), strength,
        and each measure with _low and _high.
    measures : sequence of str
        Columns, a row of panels each; where a set has no such value, nothing is drawn.
    by : str, optional
        Column that tells the curves apart, such as the detector.
    title : str
    """
    kinds = [kind for kind in table["disturbance"].unique() if kind != "none"]
    groups = list(table.groupby(by, sort=False)) if by else [(None, table)]
    steps = [table.loc[table["disturbance"] == kind, "strength"].nunique() for kind in kinds]
    size = {"sharex": "col", "sharey": "row", "width_ratios": [n + 1.5 for n in steps]}
    figure, axes = chart(1.2 + 1.6 * len(measures), len(measures), len(kinds), title, **size)
    for row, measure in enumerate(measures):
        axes[row][0].set_ylabel(WORDS.get(measure, measure))
        for ax, kind in zip(axes[row], kinds, strict=True):
            for i, (name, part) in enumerate(groups):
                own = part[part["disturbance"].isin(["none", kind])]
                _curve(ax, own, measure, i, name)
            ticks = ["as is", *(f"{s:g}" for s in own["strength"].dropna())]
            ax.set_xticks(range(len(ticks)), ticks, rotation=90, fontsize=8)
            ax.set_ylim(-0.03, 1.03)
    for ax, kind in zip(axes[-1], kinds, strict=True):
        ax.set_xlabel(_DISTURBANCES.get(kind, kind))
    if by:
        legend(figure, axes[0][0].get_legend_handles_labels()[0], columns=3)
    return figure


def _curve(ax, part: pd.DataFrame, measure: str, i: int, name) -> None:
    """Draw the rows of one curve from left to right, with their intervals as a band."""
    x, color = range(len(part)), CYCLE[i % 7]
    ax.fill_between(x, part[f"{measure}_low"], part[f"{measure}_high"], fc=(color, 0.15), lw=0)
    ax.plot(x, part[measure], color=color, marker=MARKERS[i % 7], ls=DASHES[i % 7], label=name)
