"""Learning curves, and repeated runs beside the study's number."""

import numpy as np
import pandas as pd

from ddlib.metrics.format import display_name
from ddlib.metrics.repeats import power_law
from ddlib.viz.style import FAINT, INK, chart, draw_series, legend, series_style, with_style

PLANS = {"curve": "the protocol's epochs", "steps": "equal optimiser steps"}
LAWS = {False: (":", "without a floor"), True: ((0, (6, 4)), "with a floor")}  # dash, words
_RING = {"marker": "o", "mfc": "none", "mew": 1.5, "ms": 8.5, "ls": ""}


@with_style
def learning_curve(curve: pd.DataFrame, fits: pd.DataFrame, title: str = ""):
    """Return the error on GAN faces against the number of training images, the study's as a ring.

    The tables are `ddlib.study.sweep_tables.curve_table` and `fit_table`. Both axes are
    logarithmic, so that a power law is straight. Dotted: the law without a floor, dashed: with
    one, both fitted to all sizes.
    """
    sizes = curve.groupby("plan")["n"].nunique()
    plans = [plan for plan in PLANS if sizes.get(plan, 0) > 2]  # less is no curve
    figure, axes = chart(3.8, columns=len(plans), title=title, sharey=True)
    for ax, plan in zip(axes[0], plans, strict=True):
        own = curve[curve["plan"] == plan]
        for place, (protocol, part) in enumerate(own.groupby("protocol", sort=False)):
            label = f"{display_name(protocol, 'protocol')} ({_seeds(part)})"
            ends = 1 - part["accuracy_high"], 1 - part["accuracy_low"]
            draw_series(ax, protocol, place, label, part["n"], 1 - part["accuracy"], *ends)
            color = series_style(protocol, place)["color"]
            laws = fits[(fits["plan"] == plan) & (fits["protocol"] == protocol)]
            laws = laws[laws["fitted_up_to"] == laws["fitted_up_to"].max()]
            n = np.geomspace(part["n"].min(), 100_000, 50)
            for law in laws.itertuples():
                dash, _ = LAWS[law.floor]
                ax.plot(n, power_law(n, law.a, law.b, law.c), color=color, ls=dash, lw=1.2)
        if len(fits):
            for dash, words in LAWS.values():
                ax.plot([], [], color=FAINT, ls=dash, lw=1.2, label=f"power law {words}")
            error = 1 - fits["study"].iloc[0]
            ax.plot([100_000], [error], color=INK, label="the study, one run", **_RING)
        ax.set(xscale="log", yscale="log", xlabel="training images", title=PLANS[plan])
        ax.set_yticks([0.05, 0.1, 0.2, 0.4], ["0.05", "0.1", "0.2", "0.4"])
        ax.minorticks_off()
    axes[0][0].set_ylabel("error (1 - accuracy)")
    legend(figure, columns=3)
    return figure


@with_style
def new_runs(table: pd.DataFrame, title: str = ""):
    """Return the mean over seeds, the interval of one new run, and the study's number (ring).

    A column for each protocol, a row for each measure. The table is of
    `ddlib.study.sweep_tables.seed_table`, one plan; rows that the study lacks are left out.
    """
    table = table[table["study"].notna()]
    measures = ["condition", "test_set", "measure"]
    rows = table.drop_duplicates(measures)
    places = pd.Series(np.arange(len(rows)), pd.MultiIndex.from_frame(rows[measures]))
    panels = list(table.groupby("protocol"))
    figure, axes = chart(1.4 + 0.38 * len(rows), 1, len(panels), title, sharey=True)
    for ax, (protocol, own) in zip(axes[0], panels, strict=True):
        y = places.loc[pd.MultiIndex.from_frame(own[measures])]
        label = "95 % interval of one new run"
        bar = {"color": FAINT, "lw": 7, "alpha": 0.5, "label": label}
        ax.hlines(y, own["new_run_low"], own["new_run_high"], **bar)
        ax.hlines(y, own["smallest"], own["largest"], color=INK, lw=2)
        label = "mean of our runs; line: all of them"
        ax.plot(own["mean"], y, "D", ms=4, color=INK, label=label)
        ax.plot(own["study"], y, color=INK, label="the study's run", **_RING)
        ax.grid(axis="y", visible=False)
        ax.set(title=f"{display_name(protocol, 'protocol')} ({_seeds(own)})")
        ax.set(xlabel="share", xlim=(-0.04, 1.04))
    names = [
        f"{display_name(row.condition, 'condition')}\n"
        f"{display_name(row.test_set)}, {display_name(row.measure)} (n={row.n_images})"
        for row in rows.itertuples()
    ]
    axes[0][0].set_yticks(places, names)
    axes[0][0].invert_yaxis()
    legend(figure, columns=3)
    return figure


@with_style
def batch_norm_statistics(curve: pd.DataFrame, title: str = ""):
    """Return accuracy under `paper` with running and with recomputed statistics, against n."""
    own = curve[(curve["plan"] == "curve") & (curve["protocol"] == "paper")]
    figure, axes = chart(3.3, title=title)
    ax, n = axes[0][0], own["n"]
    draw_series(ax, "paper", 0, f"running statistics ({_seeds(own)})", n, own["accuracy"])
    label = "recomputed from the training images"
    draw_series(ax, "clean", 1, label, n, own["accuracy_recomputed"])
    ax.plot(n, own["auc"], color=FAINT, ls=":", label="AUC, running statistics")
    ax.set(xscale="log", xlabel="training images", ylabel="accuracy, or AUC")
    legend(figure)
    return figure


def _seeds(part: pd.DataFrame) -> str:
    few, many = part["seeds"].min(), part["seeds"].max()
    return f"seeds: {few}" if few == many else f"seeds: {few} to {many}"
