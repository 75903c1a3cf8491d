"""Galleries of images, ELA maps, heat-map overlays and spectra, and which images to look at.

Figures that show people are for notebooks' executed copies and are not committed.
"""

import textwrap

import numpy as np
from matplotlib.colors import Normalize

from ddlib._utils import check_choice
from ddlib.metrics.format import display_name
from ddlib.metrics.roc_auc import check_scores
from ddlib.protocol import FAKE, REAL
from ddlib.traces.spectrum import radial_profile
from ddlib.viz.style import WIDTH, chart, legend, series_style, with_style

NO_EVIDENCE = "no positive evidence"
# A false real is a fake that passed, a false fake is a photograph called fake.
ERRORS = {"false real": FAKE, "false fake": REAL}


@with_style
def image_grid(images, titles=None, columns: int = 6, title: str = ""):
    """Return a gallery of images, (H, W, 3) uint8 or (H, W), of any sizes.

    The titles, if given, stand above each.
    """
    n = len(images)
    if n == 0:
        raise ValueError("no images to show")
    titles = [""] * n if titles is None else [_wrap(name, 100 // columns) for name in titles]
    if len(titles) != n:
        raise ValueError(f"{n} images but {len(titles)} titles; give each one, or none")
    rows, lines = -(-n // columns), 1 + max(name.count("\n") for name in titles)
    height = rows * (WIDTH / columns + 0.04 + 0.14 * lines) + (0.35 if title else 0)
    figure, axes = chart(height, rows, columns, title)
    for ax in axes.flat[n:]:
        ax.set_visible(False)
    for ax, image, name in zip(axes.flat, images, titles, strict=False):
        ax.imshow(image, cmap="gray")  # the colour map holds for images of one channel
        ax.set_title(name, fontsize=8.5, loc="center", pad=3)
        ax.set(xticks=[], yticks=[], anchor="S")  # what is left over is above, for the title
        ax.spines[:].set_visible(False)
    return figure


def ela_pairs(images, maps, titles=None, columns: int = 3, title: str = ""):
    """Return images with their ELA map at the right of each, `columns` pairs in a row."""
    if len(maps) != len(images):
        raise ValueError(f"{len(images)} images but {len(maps)} maps; each image needs one")
    names = _interleave(titles or [""] * len(images), ["ELA"] * len(images))
    return image_grid(_interleave(images, maps), names, 2 * columns, title)


@with_style
def overlay_grid(images, heats, titles=None, columns=6, originals=False, title=""):
    """Return images, (H, W, 3) uint8, with heat maps (h, w) in [0, 1] laid over them.

    A map that is None, all zero or NaN is written under the untouched image. With `originals` the
    plain image stands at the left of each overlay; use an even number of columns.
    """
    n = len(images)
    if len(heats) != n:
        raise ValueError(f"{n} images but {len(heats)} heat maps; each image needs one (or None)")
    if originals:
        images, titles = _interleave(images, images), _interleave(titles or [""] * n, [""] * n)
    figure = image_grid(images, titles, columns, title)
    shown, drawn = figure.axes[: len(images)], None
    shown = shown[1::2] if originals else shown
    rows = set()  # that have words under a picture
    for ax, heat in zip(shown, heats, strict=True):
        if heat is None or not np.nan_to_num(heat).any():
            ax.set_xlabel(NO_EVIDENCE, fontsize=8)
            rows.add(ax.get_subplotspec().rowspan.start)
            continue
        colors = {"cmap": "inferno", "vmin": 0, "vmax": 1, "alpha": 0.5}
        extent = ax.images[0].get_extent()
        drawn = ax.imshow(heat, extent=extent, interpolation="bilinear", **colors)
    height = figure.get_figheight() + 0.2 * len(rows)
    if drawn:
        height += 0.6
        bar = {"location": "bottom", "fraction": 0.02, "pad": 0.02, "aspect": 60}
        figure.colorbar(drawn, ax=list(figure.axes), ticks=(0, 0.5, 1), label="heat", **bar)
    figure.set_figheight(height)
    return figure


@with_style
def spectrum(spectra: dict):
    """Return mean log spectra as images of one colour scale, and their radial profiles below.

    The spectra are {name: (S, S)}, as from `ddlib.traces.spectrum.mean_spectrum`.
    """
    columns = max(2, min(4, len(spectra)))
    rows = -(-len(spectra) // columns)
    title = "Averaged spectra after a smoothed copy was subtracted"
    ratios = [2.1] * rows + [2.8]
    figure, axes = chart(3.0 + 2.1 * rows, rows + 1, columns, title, height_ratios=ratios)
    for ax in axes.flat[len(spectra) :]:
        ax.remove()
    profile = figure.add_subplot(axes[0][0].get_gridspec()[rows, :])
    values = np.concatenate([values.ravel() for values in spectra.values()])
    scale = Normalize(*np.percentile(values, (1, 99.8)))
    shown, extent = axes.flat[: len(spectra)], (-0.5, 0.5, 0.5, -0.5)
    for place, (ax, (name, values)) in enumerate(zip(shown, spectra.items(), strict=True)):
        drawn = ax.imshow(values, norm=scale, interpolation="nearest", extent=extent)
        ax.set(xticks=(-0.5, 0, 0.5), yticks=(-0.5, 0, 0.5))
        ax.set_title(_wrap(display_name(name), 18), fontsize=9)
        ax.grid(False)
        style = series_style(name, place) | {"marker": ""}
        profile.plot(*radial_profile(values), label=display_name(name), **style)
    shown[0].set(xlabel="horizontal frequency", ylabel="vertical frequency")
    figure.colorbar(drawn, ax=list(shown), label="log10 power", shrink=0.8, aspect=14)
    profile.set(xlabel="frequency (cycles per pixel)", ylabel="mean log10 power", xlim=(0, 0.5))
    legend(figure, columns=3)
    return figure


def worst_errors(labels, scores, kind: str, n: int = 6) -> np.ndarray:
    """Return the positions of up to n errors at 0.5, the most certain first.

    The kind is "false real" or "false fake". Labels are 0 (real) or 1 (fake), scores P(fake).

    Examples
    --------
    >>> worst_errors([1, 1, 1, 0], [0.4, 0.1, 0.9, 0.8], "false real").tolist()
    [1, 0]
    """
    labels, scores = check_scores(labels, scores)
    check_choice("kind", kind, ERRORS)
    wrong = (labels == ERRORS[kind]) & ((scores >= 0.5) != (labels == FAKE))
    positions = np.flatnonzero(wrong)
    doubt = scores[positions] if kind == "false real" else -scores[positions]
    return positions[np.argsort(doubt, kind="stable")][:n]


def sample_right_and_wrong(labels, scores, n: int) -> np.ndarray:
    """Return about n positions in rising order: equally many right and wrong of both classes.

    A quarter for each of the four cases; a case with fewer images gives all it has.
    """
    labels, scores = check_scores(labels, scores)
    right = (scores >= 0.5) == (labels == FAKE)
    rng, drawn = np.random.default_rng(0), []
    for label in (REAL, FAKE):
        for outcome in (True, False):
            case = rng.permutation(np.flatnonzero((labels == label) & (right == outcome)))
            drawn.append(case[: n // 4])
    return np.sort(np.concatenate(drawn))


def _wrap(text: str, width: int) -> str:
    return "\n".join(textwrap.fill(line, width) for line in text.splitlines())


def _interleave(first, second) -> list:
    return [item for pair in zip(first, second, strict=True) for item in pair]
