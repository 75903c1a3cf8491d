"""Results with their intervals: by test set and condition, beside the study, by group, as bars."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.lines import Line2D

from ddlib.metrics.format import condition_name, display_name
from ddlib.protocol import CONDITIONS
from ddlib.viz.style import (
    BAND,
    BLUE,
    COLORS,
    INK,
    MARKERS,
    VERMILLION,
    chart,
    error_bars,
    legend,
    title_of,
    with_style,
)

_HOLLOW = {"mfc": "white", "mew": 1.2, "ms": 6.5, "ls": ""}


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
    """Return results with their 95 % intervals: a line for each test set, a marker a condition.

    Parameters
    ----------
    table : DataFrame
        Columns `rows`, `by`, ``value``, ``value_low``, ``value_high``, and where known n_real and
        n_fake, or n. Rows without a value are left out: single-class sets show no accuracy.
    value : str
        A share, such as accuracy, recall_fake, recall_real or auc.
    by, rows : str
        Columns that say which marker and which line.
    hollow : str, optional
        Column of values drawn beside ours as hollow markers, such as the study's.
    hollow_label, title : str
    """
    known = table[value].notna()
    if hollow:
        known |= table[hollow].notna()
    table = table[known]
    points = pd.DataFrame(
        {
            "row": table[rows].astype(str).map(display_name) + _counts(table, value, rows),
            "group": table[by].astype(str),
            "value": table[value],
            "low": table[f"{value}_low"],
            "high": table[f"{value}_high"],
            "hollow": table[hollow] if hollow else np.nan,
        }
    )
    groups = [g for g in CONDITIONS if g in set(points["group"])] or list(points["group"].unique())
    title = title or f"{title_of(value)} by test set"
    figure, axes = chart(1.35 + points["row"].nunique() * _line_height(groups), title=title)
    _draw_dots(axes[0][0], points, groups)
    axes[0][0].set_xlabel(f"{display_name(value)}, with 95 % interval")
    name = condition_name if by == "condition" else display_name
    _dots_legend(figure, [name(group) for group in groups], hollow_label if hollow else None)
    return figure


@with_style
def compare_with_study_chart(
    table: pd.DataFrame, conditions=CONDITIONS, title: str = "Our results beside the study's"
):
    """Return the study's numbers (hollow) and ours (filled, 95 % interval), a panel a table.

    Parameters
    ----------
    table : DataFrame
        As from `ddlib.study.reference.compare_with_study`, or the study's numbers alone.
    conditions : sequence of str
        Those to draw, in this order.
    title : str
    """
    columns = ["table", "test_set", "condition", "measure", "study", "ours", "low", "high"]
    table = table.reindex(columns=columns)  # the study's table alone has no results of ours
    parts = dict(list(table[table["condition"].isin(conditions)].groupby("table", sort=False)))
    lines = [part["test_set"].nunique() for part in parts.values()]
    height = 1.3 + 0.45 * len(parts) + sum(lines) * _line_height(conditions)
    ratios = [n + 0.6 for n in lines]
    figure, axes = chart(height, len(parts), title=title, sharex=True, height_ratios=ratios)
    for ax, (name, part) in zip(axes[:, 0], parts.items(), strict=True):
        row = part["test_set"].map(display_name) + "\n" + part["measure"].map(display_name)
        points = part.assign(row=row, group=part["condition"], value=part["ours"])
        _draw_dots(ax, points.assign(hollow=part["study"]), conditions)
        ax.set_title(name)
    axes[-1][0].set_xlabel("share of images called right")
    _dots_legend(figure, [condition_name(name) for name in conditions], "the study")
    return figure


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
        Measure -> label of its axis; at least one.
    goals : dict, optional
        Measure -> a value to be marked by a dashed line.
    title : str, optional
    """
    if not panels:
        raise ValueError("panels is empty; name at least one column, as {'megabytes': 'MB'}")
    figure, axes = chart(1.1 + 0.3 * len(table), columns=len(panels), title=title, sharey=True)
    places = range(len(table))
    for ax, (measure, label) in zip(axes[0], panels.items(), strict=True):
        ends, reach = (f"{measure}_low", f"{measure}_high"), None
        if ends[0] in table:
            reach = error_bars(table, measure, *ends)
        drawn = ax.barh(places, table[measure], 0.62, xerr=reach, color=BLUE, ecolor=INK)
        plate = {"fc": "white", "ec": "none", "pad": 0.5}  # keeps a value readable on a goal line
        ax.bar_label(drawn, fmt="%.3g", padding=4, fontsize=8.5, bbox=plate)
        if goals and measure in goals:
            ax.axvline(goals[measure], color=VERMILLION, ls="--", lw=1.2)
            label += f"\n(dashed: goal {goals[measure]:g})"
        ax.set_xlabel(label)
        ax.set_yticks(places, table[name])
        ax.margins(x=0.24)
        ax.set_xlim(left=0)
        ax.grid(axis="y", visible=False)
    axes[0][0].invert_yaxis()
    return figure


def _counts(table: pd.DataFrame, value: str, rows: str):
    """Return " (n=...)" for each row of results, empty where n is unknown or differs in a line."""
    counted = [value.replace("recall", "n")] if "recall" in value else ["n", "n_real", "n_fake"]
    counted = [name for name in counted if name in table]
    if not counted:
        return ""
    n = table[counted].sum(axis=1).astype(int)
    one = n.groupby(table[rows]).transform("nunique") == 1
    return (" (n=" + n.astype(str) + ")").where(one, "")


def _line_height(groups) -> float:
    return 0.16 + 0.13 * len(groups)


def _draw_dots(ax, points: pd.DataFrame, groups) -> None:
    """Draw rows top down, groups side by side within a row; filled with interval, and hollow."""
    names = list(dict.fromkeys(points["row"]))
    step = 0.74 / max(len(groups), 2)
    for place in range(0, len(names), 2):
        ax.axhspan(place - 0.5, place + 0.5, color=BAND, lw=0, zorder=0)
    for i, group in enumerate(groups):
        own = points[points["group"] == group]
        y = own["row"].map(names.index) + (i - (len(groups) - 1) / 2) * step
        color, marker, reach = COLORS[i % 7], MARKERS[i % 7], error_bars(own, "value")
        ax.errorbar(own["value"], y, xerr=reach, fmt=marker, color=color, elinewidth=1.3, zorder=3)
        ax.plot(own["hollow"], y, marker=marker, mec=color, zorder=2.5, **_HOLLOW)
    ax.set_yticks(range(len(names)), names)
    ax.set(xlim=(-0.02, 1.02), ylim=(len(names) - 0.5, -0.5))
    ax.grid(axis="y", visible=False)


def _dots_legend(figure, names, hollow: str | None) -> None:
    handles = [
        Line2D([], [], color=COLORS[i % 7], marker=MARKERS[i % 7], label=name)
        for i, name in enumerate(names)
    ]
    if hollow:
        handles.append(Line2D([], [], marker="o", mec=INK, label=f"{hollow} (hollow)", **_HOLLOW))
    legend(figure, handles)
