"""Results with their intervals as dots: by test set and model, beside the study, by group.

What models cost and keep, side by side: a line a model, a panel a measure.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.lines import Line2D

from ddlib.protocol import CONDITIONS
from ddlib.viz.style import (
    BAND,
    BLUE,
    CYCLE,
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

_OURS = ["ours", "low", "high"]


@with_style
def result_dots(
    table: pd.DataFrame,
    value: str = "accuracy",
    by: str = "condition",
    rows: str = "test_set",
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
    groups = [g for g in CONDITIONS if g in set(points["group"])] or list(points["group"].unique())
    word = WORDS.get(value, value)
    lines = points["row"].nunique()
    title = title or f"{title_of(value)} by test set"
    figure, axes = chart(1.35 + lines * _line_height(groups), title=title)
    _dots(axes[0][0], points, groups)
    axes[0][0].set_xlabel(f"{word}, with 95 % interval")
    legend(figure, _dot_key(groups, hollow_label if hollow else None))
    return figure


@with_style
def compare_with_study_chart(
    table: pd.DataFrame, models=CONDITIONS, title: str = "Our results beside the study's"
):
    """Return the study's numbers (hollow) and ours (filled, 95 % interval), a panel a table.

    Parameters
    ----------
    table : DataFrame
        As from `ddlib.study.reference.compare_with_study`: table, test_set, condition, measure, study, ours, low,
        high.
    models : sequence of str
        Which models, in this order.
    title : str
    """
    table = table.reindex(columns=["table", "test_set", "condition", "measure", "study", *_OURS])
    parts = dict(list(table[table["condition"].isin(models)].groupby("table", sort=False)))
    lines = [part["test_set"].nunique() for part in parts.values()]
    height = 1.3 + 0.45 * len(parts) + sum(lines) * _line_height(models)
    figure, axes = chart(
        height, rows=len(parts), title=title, sharex=True, height_ratios=[n + 0.6 for n in lines]
    )
    for ax, (name, part) in zip(axes[:, 0], parts.items(), strict=True):
        row = part["test_set"] + "\n" + part["measure"].map(lambda m: WORDS.get(m, m))
        _dots(
            ax,
            part.assign(row=row, group=part["condition"], value=part["ours"], hollow=part["study"]),
            models,
        )
        ax.set_title(name)
    axes[-1][0].set_xlabel("share of pictures called right")
    legend(figure, _dot_key(models, "the study"))
    return figure


@with_style
def heat_share(table: pd.DataFrame, title: str = "Share of the heat inside the face"):
    """Return the share of heat inside a region by decision, beside what chance would give.

    Parameters
    ----------
    table : DataFrame
        As from `ddlib.explain.localisation.by_decision`: decision, n, share, low, high, chance (the share
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
    legend(figure, _dot_key(["heat"], "evenly spread heat"))
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
        reach = error_bars(own, "value")
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


@with_style
def bars(
    table: pd.DataFrame,
    name: str,
    panels: dict[str, str],
    goals: dict[str, float] | None = None,
    title: str | None = None,
):
    """Return a bar for each row and measure, in the table's order from the top.

    Parameters
    ----------
    table : DataFrame
        Column `name`, the measures, and where known their interval, ``<measure>_low`` and
        ``<measure>_high``.
    name : str
        Column that names the rows.
    panels : dict
        Measure -> what its axis is called.
    goals : dict, optional
        Measure -> a value to be marked by a dashed line.
    title : str, optional

    Raises
    ------
    ValueError
        If there is no measure to draw.
    """
    if not panels:
        raise ValueError("panels is empty; name at least one column, as {'megabytes': 'MB'}")
    goals = goals or {}
    figure, axes = chart(1.1 + 0.3 * len(table), columns=len(panels), title=title, sharey=True)
    for ax, (measure, label) in zip(axes[0], panels.items(), strict=True):
        _bars(ax, table, name, measure)
        if measure in goals:
            ax.axvline(goals[measure], color=VERMILLION, ls="--", lw=1.2)
            label += f"\n(dashed: goal {goals[measure]:g})"
        ax.set_xlabel(label)
    axes[0][0].invert_yaxis()
    return figure


def _bars(ax, table: pd.DataFrame, name: str, measure: str) -> None:
    values, places = table[measure].to_numpy(float), range(len(table))
    ends = values
    ax.barh(places, values, 0.62, color=BLUE)
    if f"{measure}_low" in table:
        low, ends = (table[f"{measure}_{side}"].to_numpy(float) for side in ("low", "high"))
        ax.hlines(places, low, ends, color=INK, lw=1.2)
    for place, value, end in zip(places, values, ends, strict=True):
        if value == value:  # not NaN
            spot = {"xytext": (4, 0), "textcoords": "offset points", "va": "center"}
            ax.annotate(f"{value:.3g}", (end, place), fontsize=8.5, **spot)
    ax.set_yticks(places, table[name])
    ax.margins(x=0.24)
    ax.set_xlim(left=0)
    ax.grid(axis="y", visible=False)
    ax.spines["bottom"].set_color(FAINT)
