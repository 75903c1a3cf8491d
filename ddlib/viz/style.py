"""One quiet look for every figure: white, few colours, readable in a notebook and in print.

Figures are made without pyplot, so nothing is shared, left open or shown twice.

Whether somebody sits in front of a notebook who could move a control.
"""

from __future__ import annotations

import functools
import io
from pathlib import Path

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure

from ddlib._io import atomic_write

WIDTH = 7.6  # inches: the width of a notebook's output


DPI = 150  # of the file; a notebook shows it at 100 to the inch


INK, FAINT, BAND = "#222222", "#8a8a8a", "#f4f4f4"


# Okabe and Ito 2008: told apart with every kind of colour vision
BLUE, VERMILLION, GREEN = "#0072B2", "#D55E00", "#009E73"


ORANGE, SKY, PURPLE, BLACK = "#E69F00", "#56B4E9", "#CC79A7", "#000000"


CYCLE = (BLUE, VERMILLION, GREEN, PURPLE, ORANGE, SKY, BLACK)


MARKERS = ("o", "s", "^", "D", "v", "P", "X")  # colour never stands alone


DASHES = ("-", "--", "-.", ":", (0, (5, 1, 1, 1, 1, 1)), (0, (8, 2)), (0, (1, 3)))


WORDS = {  # what the columns of a result are called in a figure
    "accuracy": "accuracy",
    "recall_fake": "recall of fakes",
    "recall_real": "recall of reals",
    "balanced_accuracy": "balanced accuracy",
    "auc": "AUC",
    "ap": "average precision",
    "score": "score, P(fake)",
    "flips": "verdicts that flip",
}


STYLE = {
    "font.size": 9.5,
    "axes.titlesize": 10.5,
    "axes.titlelocation": "left",
    "axes.titlepad": 7,
    "figure.titlesize": 11.5,
    "axes.labelsize": 9.5,
    "axes.labelcolor": INK,
    "axes.edgecolor": FAINT,
    "axes.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.prop_cycle": mpl.cycler(color=CYCLE),
    "grid.color": "#e3e3e3",
    "grid.linewidth": 0.7,
    "lines.linewidth": 1.7,
    "lines.markersize": 5.5,
    "text.color": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "xtick.major.size": 3,
    "ytick.major.size": 0,
    "legend.frameon": False,
    "legend.fontsize": 9,
    "hatch.linewidth": 0.8,
    "figure.facecolor": "white",
    "figure.dpi": DPI,
}


class Chart(Figure):
    """A Matplotlib figure with the look, which shows itself in a notebook without pyplot."""

    def draw(self, renderer):
        """Draw with the look: ticks are made only now and would take Matplotlib's own."""
        with mpl.rc_context(STYLE):
            super().draw(renderer)

    def _repr_png_(self):
        return to_png(self), {"width": int(self.get_figwidth() * 100)}


def with_style(function):
    """Make a function build its figure with the look."""

    @functools.wraps(function)
    def with_look(*args, **kwargs):
        with mpl.rc_context(STYLE):
            return function(*args, **kwargs)

    return with_look


def chart(height: float, rows=1, columns=1, title: str | None = None, width=WIDTH, **options):
    """Return a `Chart` and its axes, a (rows, columns) array.

    Parameters
    ----------
    height, width : float
        Inches.
    rows, columns : int
    title : str, optional
        Of the whole figure, at its left.
    **options
        As ``Figure.subplots`` takes them.
    """
    figure = Chart(figsize=(width, height), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False, **options)
    if title:
        figure.suptitle(title, x=0.01, ha="left")
    return figure, axes


def legend(figure, handles, columns: int = 5) -> None:
    """Put one legend under all panels of a figure."""
    figure.legend(handles=handles, loc="outside lower left", ncols=min(columns, len(handles)))


def to_png(figure) -> bytes:
    """Return a figure as PNG, without date or program name: same figure, same bytes."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=DPI, metadata={"Software": None})
    return buffer.getvalue()


def save_chart(figure, path) -> Path:
    """Write a figure as PNG, whole or not at all, folders made as needed; return its path.

    Raises
    ------
    ValueError
        If the name does not end in ``.png``.
    """
    path = Path(path)
    if path.suffix.lower() != ".png":
        raise ValueError(f"{path} is no name for a chart; charts are written as .png")
    with atomic_write(path) as unfinished:
        unfinished.write_bytes(to_png(figure))
    return path


def title_of(value: str) -> str:
    """Return what a column of a result is called, for the beginning of a title."""
    word = WORDS.get(value, value)
    return word[0].upper() + word[1:]


def error_bars(table, value: str) -> np.ndarray:
    """Return the lengths of an interval's two arms, (2, N); 0 where it is not known."""
    lengths = np.array([table[value] - table["low"], table["high"] - table[value]], dtype=float)
    return np.maximum(np.nan_to_num(lengths), 0)


def headless() -> bool:
    """Return whether a program runs this cell: those that run it for a person allow questions."""
    from IPython import get_ipython

    kernel = getattr(get_ipython(), "kernel", None)
    if kernel is None:
        return True
    return not kernel.get_parent("shell").get("content", {}).get("allow_stdin", False)
