"""Charts of scores: their distribution, confusion, calibration, thresholds."""

import numpy as np

from ddlib.metrics.format import display_name
from ddlib.metrics.roc_auc import check_scores
from ddlib.protocol import FAKE, REAL
from ddlib.viz.style import COLORS, FAINT, INK, chart, error_bars, legend, series_style, with_style

_HATCHES = {REAL: ("real", ""), FAKE: ("fake", "////")}


@with_style
def score_histogram(sets: dict, threshold: float = 0.5, title: str = ""):
    """Return the distribution of scores, a panel a set, each class summing to 100 %.

    The sets are {name: (labels, scores)}. A score is called fake from the threshold upward.
    """
    import seaborn as sns  # loaded for two charts only: it takes a second

    columns, rows = min(2, len(sets)), -(-len(sets) // 2)
    figure, axes = chart(0.9 + 1.75 * rows, rows, columns, title, sharey=True)
    for ax, (name, (labels, scores)) in zip(axes.flat, sets.items(), strict=False):
        labels, scores = check_scores(labels, scores)
        counts = []
        for label, (word, hatch) in _HATCHES.items():
            own = scores[labels == label]
            if len(own):
                counts.append(f"{len(own):,} {word}")
                look = {"color": COLORS[word], "edgecolor": COLORS[word], "hatch": hatch}
                kind = {"bins": np.linspace(0, 1, 25), "stat": "percent", "element": "step"}
                sns.histplot(x=own, ax=ax, alpha=0.3, label=word, **kind, **look)
        ax.axvline(threshold, color=INK, lw=1, ls="--", label=f"threshold {threshold:.3g}")
        ax.set_title(f"{display_name(name)}: {', '.join(counts)}")
        ax.set(xlim=(0, 1), xlabel="score, P(fake)", ylabel="")
    for ax in axes.flat[len(sets) :]:
        ax.set_visible(False)
    figure.supylabel("share of the class (%)", fontsize=9.5)
    legend(figure, first=("real", "fake"))
    return figure


@with_style
def confusion(counts: dict, title: str = ""):
    """Return the four counts of `ddlib.metrics.score_table` (tn, fp, fn, tp) as a square."""
    import seaborn as sns

    cells = np.array([[counts["tn"], counts["fp"]], [counts["fn"], counts["tp"]]])
    totals = cells.sum(axis=1, keepdims=True)
    shares = cells / np.maximum(totals, 1)
    texts = [f"{n:,}\n{share:.1%}" for n, share in zip(cells.flat, shares.flat, strict=True)]
    figure, axes = chart(2.6, title=title)
    look = {"fmt": "", "cmap": "Greys", "vmin": 0, "vmax": 1.15, "cbar": False}
    names = [f"{word}\n(n={n:,})" for word, n in zip(("real", "fake"), totals.flat, strict=True)]
    texts = np.reshape(texts, (2, 2))
    ax = sns.heatmap(shares, annot=texts, ax=axes[0][0], lw=1, linecolor=FAINT, **look)
    ax.set_xticklabels(["called real", "called fake"])
    ax.set_yticklabels(names, rotation=0)
    return figure


@with_style
def reliability(tables: dict, title: str = ""):
    """Return the share of fakes against the mean score, bin by bin, with the bins' sizes below.

    The tables are {name: DataFrame}, as from `ddlib.metrics.calibration.reliability`.
    """
    figure, axes = chart(4.6, rows=2, title=title, sharex=True, height_ratios=[3, 1])
    (ax,), (sizes,) = axes
    for place, (name, table) in enumerate(tables.items()):
        style, reach = series_style(name, place), error_bars(table, "share_fake")
        label = f"{display_name(name)} (n={table['n'].sum():,})"
        x = table["mean_score"]
        ax.errorbar(x, table["share_fake"], reach, elinewidth=1, label=label, **style)
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
