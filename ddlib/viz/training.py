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
    epochs = table["epoch"]
    best = epochs[table["val_loss"].idxmin()]
    for ax, measure in zip(axes[0], ("loss", "accuracy"), strict=True):
        draw_series(ax, "training", 0, "training", epochs, table[measure])
        draw_series(ax, "validation", 1, "validation", epochs, table[f"val_{measure}"])
        ax.axvline(best, color=FAINT, lw=1.2, ls=":", label=f"kept: epoch {best}")
        ax.set(xlabel="epoch", ylabel=measure)
        ax.xaxis.get_major_locator().set_params(integer=True)
    legend(figure)
    return figure


@with_style
def curves(table: pd.DataFrame, x: str, y: str, by: str, xlabel: str, ylabel: str, title: str):
    """Return a measure `y` against a setting `x`, a curve for each value of `by`."""
    figure, axes = chart(3.4, title=title)
    ax = axes[0][0]
    for place, (name, part) in enumerate(table.sort_values(x).groupby(by, sort=False)):
        draw_series(ax, name, place, display_name(name, by), part[x], part[y])
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
    left, right = axes[0]
    left.set(title="deletion: a steep fall is better", xlabel="share of pixels blurred")
    right.set(title="insertion: a steep rise is better", xlabel="share of pixels put back")
    for ax, lines in ((left, deletion), (right, insertion)):
        for place, (name, line) in enumerate(lines.items()):
            mean, n = line.scores.mean(axis=0), len(line.scores)
            half = Z95 * line.scores.std(axis=0, ddof=min(1, n - 1)) / np.sqrt(n)
            ends = mean - half, mean + half
            draw_series(ax, name, place, f"{name} (n={n})", line.shares, mean, *ends)
        ax.set(xlim=(0, 1), ylim=(-0.03, 1.03))
    left.set_ylabel("mean P(target class)")
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
    shape = {"sharex": "col", "sharey": "row", "width_ratios": [n + 1.5 for n in steps]}
    height = 1.2 + 1.6 * len(measures)
    figure, axes = chart(height, len(measures), len(kinds), title, **shape)
    for row, measure in zip(axes, measures, strict=True):
        row[0].set_ylabel(display_name(measure))
        for ax, kind in zip(row, kinds, strict=True):
            shown = table[table["perturbation"].isin(["none", kind])]
            for place, (name, own) in enumerate(shown.groupby("detector", sort=False)):
                n = f"n={own['n_real'].iloc[0]} real, {own['n_fake'].iloc[0]} fake"
                label = f"{display_name(name, 'detector')} ({n})"
                ends = own[f"{measure}_low"], own[f"{measure}_high"]
                draw_series(ax, name, place, label, range(len(own)), own[measure], *ends)
            ticks = ["as is", *(f"{s:g}" for s in own["strength"].dropna())]
            ax.set_xticks(range(len(ticks)), ticks, rotation=90, fontsize=8)
            ax.set_ylim(-0.03, 1.03)
    for ax, kind in zip(axes[-1], kinds, strict=True):
        ax.set_xlabel(display_name(kind))
    legend(figure, columns=2)
    return figure
