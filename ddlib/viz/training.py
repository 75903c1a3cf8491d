"""Curves: training by epoch, a measure against a setting, perturbation and randomisation."""

from __future__ import annotations

import numpy as np
import pandas as pd

from ddlib.metrics.format import display_name
from ddlib.metrics.intervals import Z95
from ddlib.viz.style import FAINT, chart, error_bars, legend, line_with_band, title_of, with_style


@with_style
def training_history(table: pd.DataFrame, title: str = "Loss and accuracy by epoch"):
    """Return the curves of one training run, the epoch of lowest validation loss marked.

    The table has a row an epoch: epoch, loss, val_loss, accuracy, val_accuracy.
    """
    figure, axes = chart(2.9, columns=2, title=title)
    best = table["epoch"][table["val_loss"].idxmin()]
    labels = {"loss": "loss (nats)", "accuracy": "accuracy"}
    for ax, (name, label) in zip(axes[0], labels.items(), strict=True):
        ax.plot(table["epoch"], table[name], label="training")
        ax.plot(table["epoch"], table[f"val_{name}"], label="validation")
        ax.axvline(best, color=FAINT, lw=1.2, ls=":", label=f"kept: epoch {best}")
        ax.set(xlabel="epoch", ylabel=label)
        ax.xaxis.get_major_locator().set_params(integer=True)
    legend(figure)
    return figure


@with_style
def curves(
    table: pd.DataFrame,
    x: str,
    y: str,
    by: str | None = None,
    xlabel: str | None = None,
    ylabel: str | None = None,
    title: str | None = None,
):
    """Return a measure against a setting, such as accuracy against JPEG quality.

    Parameters
    ----------
    table : DataFrame
        Columns `x` (numbers), `y`, and where known ``y_low`` and ``y_high``, drawn as a band.
    x, y : str
    by : str, optional
        Column that tells the curves apart.
    xlabel, ylabel, title : str, optional
    """
    figure, axes = chart(3.4, title=title or f"{title_of(y)} against {xlabel or x}")
    ax = axes[0][0]
    groups = table.groupby(by, sort=False) if by else [(None, table)]
    for name, part in groups:
        part = part.sort_values(x)
        line_with_band(ax, part[x], part[y], part.get(f"{y}_low"), part.get(f"{y}_high"), name)
    ax.set(xlabel=xlabel or x, ylabel=ylabel or display_name(y))
    if by:
        legend(figure)
    return figure


@with_style
def deletion_insertion(
    deletion: dict, insertion: dict, title: str = "Does the heat lie where the score comes from?"
):
    """Return the score while the hottest pixels are removed, and while they are inserted.

    Both are {name: Curve}, as from `ddlib.explain.faithfulness.perturbation_curve`. The mean over
    images is drawn; the band is its 95 % interval (normal).
    """
    figure, axes = chart(3.3, columns=2, title=title, sharey=True)
    kinds = ("deletion: a steep fall is better", "insertion: a steep rise is better")
    for ax, kind, lines in zip(axes[0], kinds, (deletion, insertion), strict=True):
        for name, line in lines.items():
            mean, n = line.scores.mean(axis=0), len(line.scores)
            half = Z95 * line.scores.std(axis=0, ddof=min(1, n - 1)) / np.sqrt(n)
            line_with_band(ax, line.shares, mean, mean - half, mean + half, name)
        ax.set_title(kind)
        ax.set(xlabel="share of pixels replaced", xlim=(0, 1))
    axes[0][0].set_ylabel("mean P(target class)")
    legend(figure)
    return figure


@with_style
def randomization(table: pd.DataFrame, title: str = "Heat maps while the weights are destroyed"):
    """Return how alike the maps stay as layers are randomised from the output down.

    The table is that of `ddlib.explain.faithfulness.cascading_randomization`.
    """
    figure, axes = chart(3.6, title=title)
    ax, steps = axes[0][0], range(len(table))
    ax.errorbar(steps, table["similarity"], error_bars(table, "similarity"), elinewidth=1)
    ax.axhline(0, color=FAINT, lw=1, ls=":")
    ax.set_xticks(steps, table["randomised"], rotation=40, ha="right", rotation_mode="anchor")
    ax.set(ylabel="rank correlation\nwith the trained model's maps")
    ax.set(xlabel="randomised down to this layer", ylim=(min(-0.05, table["low"].min()), 1.03))
    return figure
