"""What models cost and keep, side by side: a line a model, a panel a measure."""

from __future__ import annotations

import pandas as pd

from ddlib.look import BLUE, FAINT, INK, VERMILLION, chart, looks


@looks
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
