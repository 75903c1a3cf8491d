"""Results with their intervals as dots: by test set and model, beside the study, by group."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.lines import Line2D

from ddlib.look import BAND, CYCLE, INK, MARKERS, WORDS, arms, chart, key, looks, named
from ddlib.protocol import MODELS

_OURS = ["ours", "low", "high"]


@looks
def result_dots(
    table: pd.DataFrame,
    value: str = "accuracy",
    by: str = "model",
    rows: str = "test_source",
    hollow: str | None = None,
    hollow_label: str = "the study",
    title: str | None = None,
):
    """Return results with their 95 % intervals: a line a test set, a marker a model.

    Parameters
    ----------
    table : DataFrame
        Columns `rows`, `by`, ``value``, ``value_low``, ``value_high``; rows without a value are
        left out, so that single-class sets show no accuracy.
    value : str
        accuracy, recall_fake, recall_real or auc.
    by, rows : str
        Columns that say which marker and which line.
    hollow : str, optional
        Column of values set beside ours as hollow markers, such as the study's.
    hollow_label, title : str
    """
    table = table[table[value].notna() | (table[hollow].notna() if hollow else False)]
    points = pd.DataFrame(
        {
            "row": table[rows].astype(str),
            "group": table[by].astype(str),
            "value": table[value],
            "low": table[f"{value}_low"],
            "high": table[f"{value}_high"],
            "hollow": table[hollow] if hollow else np.nan,
        }
    )
    groups = [g for g in MODELS if g in set(points["group"])] or list(points["group"].unique())
    word = WORDS.get(value, value)
    lines = points["row"].nunique()
    title = title or f"{named(value)} by test set"
    figure, axes = chart(1.35 + lines * _line_height(groups), title=title)
    _dots(axes[0][0], points, groups)
    axes[0][0].set_xlabel(f"{word}, with 95 % interval")
    key(figure, _dot_key(groups, hollow_label if hollow else None))
    return figure


@looks
def beside_study(table: pd.DataFrame, models=MODELS, title: str = "Our results beside the study's"):
    """Return the study's numbers (hollow) and ours (filled, 95 % interval), a panel a table.

    Parameters
    ----------
    table : DataFrame
        As from `ddlib.published.beside`: table, test_source, model, measure, study, ours, low,
        high.
    models : sequence of str
        Which models, in this order.
    title : str
    """
    table = table.reindex(columns=["table", "test_source", "model", "measure", "study", *_OURS])
    parts = dict(list(table[table["model"].isin(models)].groupby("table", sort=False)))
    lines = [part["test_source"].nunique() for part in parts.values()]
    height = 1.3 + 0.45 * len(parts) + sum(lines) * _line_height(models)
    figure, axes = chart(
        height, rows=len(parts), title=title, sharex=True, height_ratios=[n + 0.6 for n in lines]
    )
    for ax, (name, part) in zip(axes[:, 0], parts.items(), strict=True):
        row = part["test_source"] + "\n" + part["measure"].map(lambda m: WORDS.get(m, m))
        _dots(
            ax,
            part.assign(row=row, group=part["model"], value=part["ours"], hollow=part["study"]),
            models,
        )
        ax.set_title(name)
    axes[-1][0].set_xlabel("share of pictures called right")
    key(figure, _dot_key(models, "the study"))
    return figure


@looks
def heat_share(table: pd.DataFrame, title: str = "Share of the heat inside the face"):
    """Return the share of heat inside a region by decision, beside what chance would give.

    Parameters
    ----------
    table : DataFrame
        As from `ddlib.localisation.by_decision`: decision, n, share, low, high, chance (the share
        of the picture that the region takes, so what evenly spread heat would give). Its row of the
        difference, "right - wrong", has another scale and is left out.
    title : str
    """
    table = table[~table["decision"].astype(str).str.contains(" - ")]
    row = table["decision"].astype(str) + " (n=" + table["n"].astype(int).astype(str) + ")"
    points = table.assign(row=row, group="heat", value=table["share"], hollow=table["chance"])
    figure, axes = chart(1.2 + 0.34 * len(points), title=title)
    _dots(axes[0][0], points, ["heat"])
    axes[0][0].set_xlabel("share of the heat, with 95 % interval")
    key(figure, _dot_key(["heat"], "evenly spread heat"))
    return figure


def _line_height(groups) -> float:
    return 0.16 + 0.13 * len(groups)


def _dots(ax, points: pd.DataFrame, groups) -> None:
    """Draw rows top down, groups side by side within a row; filled with interval, and hollow."""
    names = list(dict.fromkeys(points["row"]))
    step = 0.74 / max(len(groups), 2)
    for place in range(0, len(names), 2):
        ax.axhspan(place - 0.5, place + 0.5, color=BAND, lw=0, zorder=0)
    for i, group in enumerate(groups):
        own = points[points["group"] == group]
        y = own["row"].map(names.index) + (i - (len(groups) - 1) / 2) * step
        color, marker = _style(i)
        reach = arms(own, "value")
        ax.errorbar(own["value"], y, xerr=reach, fmt=marker, color=color, elinewidth=1.3, zorder=3)
        ax.plot(own["hollow"], y, marker, mfc="white", mec=color, mew=1.2, zorder=2.5, ms=6.5)
    ax.set_yticks(range(len(names)), names)
    ax.set(xlim=(-0.02, 1.02), ylim=(len(names) - 0.5, -0.5))
    ax.grid(axis="y", visible=False)


def _dot_key(groups, hollow: str | None) -> list:
    handles = []
    for i, group in enumerate(groups):
        color, marker = _style(i)
        handles.append(Line2D([], [], color=color, marker=marker, lw=1.3, label=group))
    if hollow:
        empty = {"marker": "o", "ls": "", "mfc": "white", "mec": INK, "mew": 1.2, "ms": 6.5}
        handles.append(Line2D([], [], label=f"{hollow} (hollow)", **empty))
    return handles


def _style(i: int) -> tuple[str, str]:
    return CYCLE[i % len(CYCLE)], MARKERS[i % len(MARKERS)]
