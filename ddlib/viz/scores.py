"""Charts of scores: their distribution, confusion, calibration, thresholds."""

import numpy as np
import pandas as pd

from ddlib.metrics.format import display_name
from ddlib.metrics.roc_auc import check_scores
from ddlib.protocol import FAKE, LABELS, REAL
from ddlib.viz.style import COLORS, FAINT, INK, chart, error_bars, legend, series_style, with_style

_HATCHES = {"real": "", "fake": "////"}


@with_style
def score_histogram(sets: dict, threshold: float = 0.5, title: str = ""):
    """Return the distribution of scores, a panel a set, each class summing to 100 %.

    The sets are {name: (labels, scores)}. A score is called fake from the threshold upward.
    """
    import seaborn as sns  # loaded for two charts only: it takes a second

    columns, rows = min(2, len(sets)), -(-len(sets) // 2)
    figure, axes = chart(0.9 + 1.75 * rows, rows, columns, title, sharey=True)
    bins = {"bins": np.linspace(0, 1, 25), "stat": "percent", "element": "step", "alpha": 0.3}
    for ax, (name, (labels, scores)) in zip(axes.flat, sets.items(), strict=False):
        labels, scores = check_scores(labels, scores)
        counts = []
        for word, hatch in _HATCHES.items():
            own = scores[labels == LABELS[word]]
            if len(own):
                counts.append(f"{len(own):,} {word}")
                look = {"color": COLORS[word], "edgecolor": COLORS[word], "hatch": hatch}
                sns.histplot(x=own, ax=ax, label=word, **bins, **look)
        line = ax.axvline(threshold, color=INK, lw=1, ls="--")
        ax.set_title(f"{display_name(name)}: {', '.join(counts)}")
        ax.set(xlim=(0, 1), xlabel="score, P(fake)", ylabel="")
    line.set_label(f"threshold {threshold:.3g}")  # of the last panel: last in the legend
    for ax in axes.flat[len(sets) :]:
        ax.set_visible(False)
    figure.supylabel("share of the class (%)", fontsize=9.5)
    legend(figure)
    return figure


@with_style
def confusion(counts: dict, title: str = ""):
    """Return the four counts of `ddlib.metrics.score_table` (tn, fp, fn, tp) as a square."""
    import seaborn as sns

    cells = np.array([[counts["tn"], counts["fp"]], [counts["fn"], counts["tp"]]])
    totals = cells.sum(axis=1)
    shares = cells / np.maximum(totals, 1)[:, None]
    texts = [f"{n:,}\n{share:.1%}" for n, share in zip(cells.flat, shares.flat, strict=True)]
    names = [f"real\n(n={totals[0]:,})", f"fake\n(n={totals[1]:,})"]
    shares = pd.DataFrame(shares, names, ["called real", "called fake"])
    figure, axes = chart(2.6, title=title)
    look = {"cmap": "Greys", "vmin": 0, "vmax": 1.15, "cbar": False, "lw": 1, "linecolor": FAINT}
    ax = sns.heatmap(shares, annot=np.reshape(texts, (2, 2)), fmt="", ax=axes[0][0], **look)
    ax.tick_params("y", rotation=0)
    return figure


@with_style
def reliability(tables: dict, title: str = ""):
    """Return the share of fakes against the mean score, bin by bin, with the bins' sizes below.

    The tables are {name: DataFrame}, as from `ddlib.metrics.calibration.reliability`.
    """
    figure, axes = chart(4.6, rows=2, title=title, sharex=True, height_ratios=[3, 1])
    (ax,), (sizes,) = axes
    for place, (name, table) in enumerate(tables.items()):
        style, x, share = series_style(name, place), table["mean_score"], table["share_fake"]
        label = f"{display_name(name)} (n={table['n'].sum():,})"
        reach = error_bars(share, table["low"], table["high"])
        ax.errorbar(x, share, reach, elinewidth=1, label=label, **style)
        sizes.plot(x, table["n"], lw=1, ms=4, **style)
    ax.axline((0, 0), (1, 1), color=FAINT, lw=1, ls=":", label="perfect")
    ax.set_ylabel("share that are fake,\nwith 95 % interval")
    ax.set(xlim=(-0.02, 1.02), ylim=(-0.03, 1.03))
    sizes.set(xlabel="mean score of the bin, P(fake)", ylabel="images", ylim=(0, None))
    legend(figure)
    return figure


@with_style
def thresholds(labels, scores, marks: dict | None = None, title: str = ""):
    """Return both error rates against the threshold; marks are {name: threshold}."""
    labels, scores = check_scores(labels, scores)
    cuts = np.linspace(0, 1, 501)
    real, fake = (np.sort(scores[labels == label]) for label in (REAL, FAKE))
    alarms = 1 - np.searchsorted(real, cuts) / len(real)
    misses = np.searchsorted(fake, cuts) / len(fake)
    figure, axes = chart(3.4, title=title)
    ax = axes[0][0]
    ax.plot(cuts, alarms, color=COLORS["real"], label=f"reals called fake (n={len(real):,})")
    ax.plot(cuts, misses, "--", color=COLORS["fake"], label=f"fakes called real (n={len(fake):,})")
    for place, (name, cut) in enumerate((marks or {}).items(), 2):  # after the dashes of the curves
        label, dash = f"{name}: {cut:.3f}", series_style(name, place)["linestyle"]
        ax.axvline(min(cut, 1), color=FAINT, lw=1.2, ls=dash, label=label)
    ax.set(xlabel="threshold on the score, P(fake)", ylabel="share of the class")
    ax.set(xlim=(0, 1), ylim=(-0.02, 1.02))
    legend(figure, columns=3)
    return figure
