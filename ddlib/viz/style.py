"""One style for every figure: white, few colours, readable in grey, in a notebook and in print.

Figures are made without pyplot, so nothing is shared, left open or shown twice.
"""

import io
from pathlib import Path

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure

from ddlib._utils import atomic_write

WIDTH = 7.6  # inches, of every figure: the width of a notebook's output
DPI = 150  # of the file; a notebook shows it at 100 to the inch
INK, FAINT = "#222222", "#8a8a8a"
# One colour means one thing in all figures. Okabe and Ito 2008: told apart with every kind of
# colour vision. Colour never stands alone: markers, dashes and hatches say the same in grey.
COLORS = {
    "real": "#0072B2",
    "fake": "#D55E00",
    "gan": "#009E73",
    "gan+ela": "#56B4E9",
    "gan+sd": "#CC79A7",
    "gan+sd+ela": "#E69F00",
    "clean": "#000000",
    "paper": FAINT,
}
# Series that have no colour of their own; as many as there are markers, so none comes twice.
OTHERS = ("#332288", "#999933", "#882255", "#661100", "#117733", "#AA4499", "#6699CC")
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
DASHES = ("-", "--", "-.", ":", (0, (5, 1, 1, 1, 1, 1)), (0, (8, 2)), (0, (1, 3)))
STYLE = {
    "font.size": 9.5,
    "axes.titlesize": 10.5,
    "axes.titlelocation": "left",
    "figure.titlesize": 11.5,
    "axes.edgecolor": FAINT,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#e3e3e3",
    "lines.markersize": 5.5,
    "text.color": INK,
    "ytick.major.size": 0,
    "legend.frameon": False,
    "legend.fontsize": 9,
}
with_style = mpl.rc_context(STYLE)  # a decorator: the function runs with the style


class Chart(Figure):
    """A Matplotlib figure that shows itself in a notebook without pyplot."""

    def _repr_png_(self):
        return to_png(self), {"width": int(self.get_figwidth() * 100), "alt": alt_text(self)}


@with_style
def chart(height: float, rows=1, columns=1, title="", **options):
    """Return a `Chart` of a height in inches, and its axes, a (rows, columns) array.

    The title is the whole figure's; options as ``Figure.subplots``.
    """
    figure = Chart(figsize=(WIDTH, height), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False, **options)
    if title:
        figure.suptitle(title, x=0.01, ha="left")
    return figure, axes


@with_style
def legend(figure, columns: int = 5) -> None:
    """Put one legend of all that is labelled under all panels, each label once."""
    handles = {}
    for ax in figure.axes:
        drawn, labels = ax.get_legend_handles_labels()
        handles |= dict(zip(labels, drawn, strict=True))
    columns = min(columns, len(handles))
    figure.legend(handles.values(), handles, loc="outside lower left", ncols=columns)


def series_style(name: str, place: int) -> dict:
    """Return colour, marker and dash of the series at a place of a figure, by its code name."""
    color = COLORS.get(name, OTHERS[place % len(OTHERS)])
    marker, dash = MARKERS[place % len(MARKERS)], DASHES[place % len(DASHES)]
    return {"color": color, "marker": marker, "linestyle": dash}


def draw_series(ax, name: str, place: int, label: str, x, y, low=None, high=None) -> None:
    """Draw a series as a curve, and its interval, where known, as a band of its colour."""
    style = series_style(name, place)
    ax.plot(x, y, label=label, **style)
    if low is not None:
        ax.fill_between(x, low, high, color=style["color"], alpha=0.15, lw=0)


def alt_text(figure) -> str:
    """Return a figure's titles, axis labels and legend as text, for those who cannot see it."""
    texts = [figure.get_suptitle()]
    for ax in figure.axes:
        texts += [ax.get_title("left"), ax.get_title(), ax.get_xlabel(), ax.get_ylabel()]
    texts += [text.get_text() for each in figure.legends for text in each.get_texts()]
    return ". ".join(dict.fromkeys(text.replace("\n", " ") for text in texts if text))


@with_style  # ticks are made only when the figure is drawn
def to_png(figure) -> bytes:
    """Return a figure as PNG, without date or program name: same figure, same bytes."""
    buffer = io.BytesIO()
    metadata = {"Software": None, "Description": alt_text(figure)}
    figure.savefig(buffer, format="png", dpi=DPI, metadata=metadata)
    return buffer.getvalue()


def save_chart(figure, path) -> Path:
    """Write a figure as PNG, folders made as needed; return its path."""
    path = Path(path)
    if path.suffix.lower() != ".png":
        raise ValueError(f"{path} does not end in .png; charts are written as PNG")
    with atomic_write(path) as unfinished:
        unfinished.write_bytes(to_png(figure))
    return path


def error_bars(values, low, high) -> np.ndarray:
    """Return the lengths below and above of intervals, (2, N); 0 where an end is not known."""
    lengths = np.array([values - low, high - values], dtype=float)
    return np.maximum(np.nan_to_num(lengths), 0)
