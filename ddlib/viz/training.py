"""Curves: training by epoch, measures against settings and perturbations, pixels deleted."""

import numpy as np
import pandas as pd

from ddlib.metrics.format import display_name
from ddlib.metrics.intervals import Z95
from ddlib.viz.style import FAINT, chart, draw_series, legend, with_style


@with_style
def training_history(table: pd.DataFrame, title: str = ""):
    """Return the curves of one training run, the epoch of lowest validation loss marked.

    The table has a row an epoch: epoch, loss, val_loss, accuracy, val_accuracy.
    """
    figure, axes = chart(2.9, columns=2, title=title)
    best = table["epoch"][table["val_loss"].idxmin()]
    for ax, measure in zip(axes[0], ("loss", "accuracy"), strict=True):
        for place, (name, column) in enumerate({"training": "", "validation": "val_"}.items()):
            draw_series(ax, name, place, name, table["epoch"], table[column + measure])
        ax.axvline(best, color=FAINT, lw=1.2, ls=":", label=f"kept: epoch {best}")
        ax.set(xlabel="epoch", ylabel=measure)
        ax.xaxis.get_major_locator().set_params(integer=True)
    legend(figure)
    return figure


@with_style
def curves(table: pd.DataFrame, x: str, y: str, by: str, xlabel: str, ylabel: str, title: str):
    """Return a measure `y` against a setting `x`, a curve for each value of `by`.

    Columns ``y_low`` and ``y_high``, where known, are drawn as a band.
    """
    figure, axes = chart(3.4, title=title)
    ax = axes[0][0]
    for place, (name, part) in enumerate(table.sort_values(x).groupby(by, sort=False)):
        ends = part.get(f"{y}_low"), part.get(f"{y}_high")
        draw_series(ax, name, place, display_name(name, by), part[x], part[y], *ends)
    ax.set(xlabel=xlabel, ylabel=ylabel)
    ax.xaxis.get_major_locator().set_params(integer=True)  # a JPEG quality, a layer's number
    legend(figure)
    return figure


@with_style
def deletion_insertion(deletion: dict, insertion: dict, title: str = ""):
    """Return the score while the hottest pixels are removed, and while they are inserted.

    Both are {name: Curve}, as from `ddlib.explain.faithfulness.perturbation_curve`. The mean over
    images is drawn; the band is its 95 % interval (normal).
    """
    figure, axes = chart(3.3, columns=2, title=title, sharey=True)
    kinds = ("deletion: a steep fall is better", "insertion: a steep rise is better")
    done = ("share of pixels blurred", "share of pixels put back")
    for ax, kind, words, lines in zip(axes[0], kinds, done, (deletion, insertion), strict=True):
        for place, (name, line) in enumerate(lines.items()):
            mean, n = line.scores.mean(axis=0), len(line.scores)
            half = Z95 * line.scores.std(axis=0, ddof=min(1, n - 1)) / np.sqrt(n)
            ends = mean - half, mean + half
            draw_series(ax, name, place, f"{name} (n={n})", line.shares, mean, *ends)
        ax.set_title(kind)
        ax.set(xlabel=words, xlim=(0, 1), ylim=(-0.03, 1.03))
    axes[0][0].set_ylabel("mean P(target class)")
    legend(figure)
    return figure


@with_style
def robustness(table: pd.DataFrame, measures=("accuracy", "flips"), title: str = ""):
    """Return measures against the strength of each kind of perturbation, harsher to the right.

    A row of panels a measure, a curve a detector; the table is that of
    `ddlib.deploy.robustness.sweep`.
    """
    kinds = [kind for kind in table["perturbation"].unique() if kind != "none"]
    steps = [table.loc[table["perturbation"] == kind, "strength"].nunique() for kind in kinds]
    ratios, height = [n + 1.5 for n in steps], 1.2 + 1.6 * len(measures)
    shape = {"sharex": "col", "sharey": "row", "width_ratios": ratios}
    figure, axes = chart(height, len(measures), len(kinds), title, **shape)
    for row, measure in zip(axes, measures, strict=True):
        row[0].set_ylabel(display_name(measure))
        for ax, kind in zip(row, kinds, strict=True):
            for place, (name, part) in enumerate(table.groupby("detector", sort=False)):
                own = part[part["perturbation"].isin(["none", kind])]
                ends = own[f"{measure}_low"], own[f"{measure}_high"]
                n = "n={n_real} real, {n_fake} fake".format_map(own.iloc[0])
                label = f"{display_name(name, 'detector')} ({n})"
                draw_series(ax, name, place, label, range(len(own)), own[measure], *ends)
            ticks = ["as is", *(f"{s:g}" for s in own["strength"].dropna())]
            ax.set_xticks(range(len(ticks)), ticks, rotation=90, fontsize=8)
            ax.set_ylim(-0.03, 1.03)
    for ax, kind in zip(axes[-1], kinds, strict=True):
        ax.set_xlabel(display_name(kind))
    legend(figure, columns=2)
    return figure
