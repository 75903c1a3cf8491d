"""Results with their 95 % intervals: as dots, beside the study's, as bars."""

import pandas as pd

from ddlib.metrics.format import display_name
from ddlib.viz.style import COLORS, INK, OTHERS, chart, error_bars, legend, series_style, with_style

_HOLLOW = {"mfc": "white", "mew": 1.2, "ms": 9, "ls": ""}


@with_style
def result_dots(
    table: pd.DataFrame,
    value: str = "accuracy",
    by: str = "condition",
    rows: str = "test_set",
    hollow: str | None = None,
    hollow_label: str = "the study",
    panel: str | None = None,
    title: str = "",
):
    """Return results with their intervals: a line for each test set, a marker a condition.

    Parameters
    ----------
    table : DataFrame
        Columns `rows`, `by`, ``value``, ``value_low``, ``value_high``, and where known n_real and
        n_fake, or n. Rows without a value are left out: single-class sets show no accuracy.
    value, by, rows : str
        Columns of what is drawn, such as recall_fake; of the markers; of the lines.
    hollow, hollow_label : str, optional
        Column of values drawn as hollow markers, such as the study's, and their name; their
        interval too where ``<hollow>_low`` and ``<hollow>_high`` are known.
    panel : str, optional
        Column that divides the lines into panels.
    """
    table = table[table[value].notna() | (table[hollow].notna() if hollow else False)]
    found = table[by].astype(str).unique()
    groups = [name for name in COLORS if name in found] or list(found)
    styles = {name: series_style(name, place) for place, name in enumerate(groups)}
    line = table[rows].astype(str).map(display_name) + _counts(table, value, rows)
    parts = list(table.assign(line=line).groupby(panel or (lambda _: ""), sort=False))
    lines = [part["line"].nunique() for _, part in parts]
    height = 0.9 + 0.45 * len(parts) + sum(lines) * (0.16 + 0.13 * len(groups))
    shape = {"sharex": True, "height_ratios": [n + 0.6 for n in lines]}
    figure, axes = chart(height, len(parts), title=title, **shape)
    for ax, (name, part) in zip(axes[:, 0], parts, strict=True):
        _draw_dots(ax, part, value, by, hollow, styles)
        ax.set_title(name)
    low, ax = table[f"{value}_low"], axes[-1][0]
    interval = ", with 95 % interval" if low.notna().any() else ""  # the study gives none
    ax.set_xlabel(display_name(value) + interval)
    ax.set_xlim(min(0, low.min()) - 0.02, 1.02)  # a correlation may be negative
    for name, style in styles.items():  # the legend shows markers without an interval
        ax.plot([], [], label=display_name(name, by), **style | {"linestyle": "-"})
    if hollow:
        ax.plot([], [], marker="o", mec=INK, label=f"{hollow_label} (hollow)", **_HOLLOW)
    legend(figure)
    return figure


def compare_with_study_chart(table: pd.DataFrame, title: str = ""):
    """Return the study's numbers (hollow) and ours (filled, 95 % interval), a panel a table.

    The table is that of `ddlib.study.reference.compare_with_study`, or the study's numbers alone.
    """
    columns = ["table", "test_set", "condition", "measure", "study", "ours", "low", "high"]
    table = table.reindex(columns=columns)  # the study's table alone has no results of ours
    table["line"] = table["test_set"].map(display_name) + "\n" + table["measure"].map(display_name)
    table["table"] = "the study, " + table["table"].str.lower()
    table = table.rename(columns={"ours": "right", "low": "right_low", "high": "right_high"})
    return result_dots(table, "right", rows="line", hollow="study", panel="table", title=title)


@with_style
def bars(table: pd.DataFrame, name: str, panels: dict, goals: dict | None = None, title: str = ""):
    """Return a bar for each row of a table, from the top, a panel a measure.

    The table has a column `name` of words, the measures, and where known ``<measure>_low`` and
    ``<measure>_high``. The panels are {measure: label of its axis}, the goals {measure: value},
    each marked by a dashed line.
    """
    figure, axes = chart(1.1 + 0.3 * len(table), columns=len(panels), title=title, sharey=True)
    for ax, (measure, label) in zip(axes[0], panels.items(), strict=True):
        values, places = table[measure], range(len(table))
        ends = table.get(f"{measure}_low", values), table.get(f"{measure}_high", values)
        look = {"color": OTHERS[0], "ecolor": INK}
        drawn = ax.barh(places, values, 0.62, xerr=error_bars(values, *ends), **look)
        plate = {"fc": "white", "ec": "none", "pad": 0.5}  # keeps a value readable on a goal line
        ax.bar_label(drawn, fmt="%.3g", padding=4, fontsize=8.5, bbox=plate)
        if goals and measure in goals:
            ax.axvline(goals[measure], color=INK, ls="--", lw=1.2)
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
    n = table.reindex(columns=counted).sum(axis=1).astype(int)
    one = n.groupby(table[rows]).transform("nunique") == 1
    return (" (n=" + n.astype(str) + ")").where(one & (n > 0), "")


def _draw_dots(ax, table, value: str, by: str, hollow: str | None, styles: dict) -> None:
    """Draw lines top down, groups side by side within a line; filled with interval, and hollow."""
    names = list(dict.fromkeys(table["line"]))
    step = 0.74 / max(len(styles), 2)
    for place in range(0, len(names), 2):
        ax.axhspan(place - 0.5, place + 0.5, color="#f4f4f4", lw=0, zorder=0)
    for i, (group, style) in enumerate(styles.items()):
        own = table[table[by].astype(str) == group]
        y = own["line"].map(names.index) + (i - (len(styles) - 1) / 2) * step
        color, marker = style["color"], style["marker"]
        reach = error_bars(own[value], own[f"{value}_low"], own[f"{value}_high"])
        ax.errorbar(own[value], y, xerr=reach, fmt=marker, color=color, elinewidth=1.3, zorder=3)
        if hollow:
            ax.plot(own[hollow], y, marker=marker, mec=color, zorder=2.5, **_HOLLOW)
        if f"{hollow}_low" in own:
            ends = own[f"{hollow}_low"], own[f"{hollow}_high"]
            ax.hlines(y, *ends, color=color, ls=":", lw=1.3, zorder=2)
    ax.set_yticks(range(len(names)), names)
    ax.set_ylim(len(names) - 0.5, -0.5)
    ax.grid(axis="y", visible=False)
