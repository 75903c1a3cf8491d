"""Every chart of the notebooks and the report: tables and arrays in, one Matplotlib figure out.

Dots of results, charts of scores and pictures have modules of their own; all can be had from here.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from ddlib.metrics.intervals import Z95
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
    title_of,
    with_style,
)


@with_style
def training_history(table: pd.DataFrame, title: str = "Loss and accuracy by epoch"):
    """Return the curves of one training run, the epoch of lowest validation loss marked.

    Parameters
    ----------
    table : DataFrame
        A row an epoch: epoch, loss, val_loss, accuracy, val_accuracy.
    title : str
    """
    figure, axes = chart(2.9, columns=2, title=title)
    best = table["epoch"][table["val_loss"].idxmin()]
    for ax, name, unit in zip(axes[0], ("loss", "accuracy"), (" (nats)", ""), strict=True):
        ax.plot(table["epoch"], table[name], color=BLUE, marker="o", label="training")
        held_out = table[f"val_{name}"]
        ax.plot(table["epoch"], held_out, color=VERMILLION, marker="s", ls="--", label="validation")
        ax.axvline(best, color=FAINT, lw=1, ls=":", label=f"kept: epoch {best}")
        ax.set(xlabel="epoch", ylabel=name + unit)
        ax.xaxis.get_major_locator().set_params(integer=True)
    legend(figure, axes[0][0].get_legend_handles_labels()[0])
    return figure


@with_style
def curves(
    table: pd.DataFrame,
    x: str,
    y: str,
    by: str | None = None,
    xlabel: str | None = None,
    ylabel: str | None = None,
    falling: bool = False,
    title: str | None = None,
):
    """Return a measure against a setting, such as accuracy against JPEG quality, with its band.

    Parameters
    ----------
    table : DataFrame
        Columns `x` (numbers), `y`, and where known ``y_low`` and ``y_high``.
    x, y : str
    by : str, optional
        Column that tells the curves apart.
    xlabel, ylabel, title : str, optional
    falling : bool
        Draw x from high to low, so that harder lies to the right.
    """
    figure, axes = chart(3.4, title=title or f"{title_of(y)} against {xlabel or x}")
    ax = axes[0][0]
    groups = table.groupby(by, sort=False) if by else [(None, table)]
    for i, (name, part) in enumerate(groups):
        part, style = part.sort_values(x), {"color": CYCLE[i % 7], "marker": MARKERS[i % 7]}
        if f"{y}_low" in part:
            ax.fill_between(part[x], part[f"{y}_low"], part[f"{y}_high"], fc=(CYCLE[i % 7], 0.15))
        ax.plot(part[x], part[y], ls=DASHES[i % 7], label=name, **style)
    ax.set(xlabel=xlabel or x, ylabel=ylabel or WORDS.get(y, y))
    if falling:
        ax.invert_xaxis()
    if by:
        legend(figure, ax.get_legend_handles_labels()[0])
    return figure


@with_style
def deletion_insertion(
    deletion: dict, insertion: dict, title: str = "Does the heat lie where the score comes from?"
):
    """Return the score while the hottest pixels are taken away, and while they are put in.

    Parameters
    ----------
    deletion, insertion : {name: Curve}
        As from `ddlib.explain.faithfulness`: ``shares`` (S,) of the pixels and ``scores`` (N, S). Drawn is
        the mean over images, the band is its 95 % interval (normal).
    title : str
    """
    figure, axes = chart(3.3, columns=2, title=title, sharey=True)
    kinds = {"deletion: a steep fall is better": deletion}
    kinds["insertion: a steep rise is better"] = insertion
    for ax, (kind, lines) in zip(axes[0], kinds.items(), strict=True):
        for i, (name, line) in enumerate(lines.items()):
            mean, n = line.scores.mean(axis=0), len(line.scores)
            half = Z95 * line.scores.std(axis=0, ddof=min(1, n - 1)) / np.sqrt(n)
            ax.fill_between(line.shares, mean - half, mean + half, fc=(CYCLE[i % 7], 0.15))
            ax.plot(line.shares, mean, color=CYCLE[i % 7], ls=DASHES[i % 7], label=name)
        ax.set_title(kind)
        ax.set(xlabel="share of pixels replaced", xlim=(0, 1))
    axes[0][0].set_ylabel("mean P(target class)")
    legend(figure, axes[0][0].get_legend_handles_labels()[0])
    return figure


@with_style
def randomization(table: pd.DataFrame, title: str = "Heat maps while the weights are destroyed"):
    """Return how alike the maps stay as layers are randomised from the output down.

    Parameters
    ----------
    table : DataFrame
        As from `ddlib.explain.faithfulness.cascading_randomization`: randomised, similarity, low, high.
    title : str
    """
    figure, axes = chart(3.6, title=title)
    ax, steps = axes[0][0], range(len(table))
    reach = error_bars(table, "similarity")
    ax.errorbar(steps, table["similarity"], reach, color=BLUE, marker="o", elinewidth=1)
    ax.axhline(0, color=FAINT, lw=1, ls=":")
    ax.set_xticks(steps, table["randomised"], rotation=40, ha="right", rotation_mode="anchor")
    ax.set(
        ylabel="rank correlation\nwith the trained model's maps",
        ylim=(min(-0.05, table["low"].min()), 1.03),
    )
    ax.set_xlabel("randomised down to this layer")
    return figure


@with_style
def latency(table: pd.DataFrame, title: str = "Time for one picture"):
    """Return milliseconds a picture as bars, slowest first.

    Parameters
    ----------
    table : DataFrame
        name, milliseconds, and where known low and high.
    title : str
    """
    table = table.sort_values("milliseconds").reset_index(drop=True)
    figure, axes = chart(0.9 + 0.32 * len(table), title=title)
    ax = axes[0][0]
    spread = error_bars(table, "milliseconds") if "low" in table else None
    ax.barh(table["name"], table["milliseconds"], 0.6, xerr=spread, color=BLUE, ecolor=INK)
    ends = table["high"] if "high" in table else table["milliseconds"]
    for row, (end, ms) in enumerate(zip(ends, table["milliseconds"], strict=True)):
        ax.annotate(f"{ms:.3g}", (end, row), (4, 0), textcoords="offset points", va="center")
    ax.set_xlabel("milliseconds a picture")
    ax.margins(x=0.08)
    ax.grid(axis="y", visible=False)
    return figure
