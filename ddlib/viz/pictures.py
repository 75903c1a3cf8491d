"""Figures made of pictures: galleries, ELA maps, heat-map overlays, spectra.

Figures that show people are for notebooks' executed copies and are not committed.

Which pictures to look at: a model's worst errors, or equally many right and wrong decisions.
"""

from __future__ import annotations

import numpy as np

from ddlib.metrics.roc_auc import check_scores
from ddlib.protocol import FAKE, REAL
from ddlib.traces.spectrum import radial_profile
from ddlib.viz.style import CYCLE, DASHES, WIDTH, Chart, chart, legend, with_style

NO_EVIDENCE = "no positive evidence"


@with_style
def image_grid(images, titles=None, columns: int = 6, title: str | None = None):
    """Return a gallery, left to right and top down.

    Parameters
    ----------
    images : sequence of (H, W, 3) uint8, of any sizes
    titles : sequence of str, optional
        One above each picture.
    columns : int
    title : str, optional

    Raises
    ------
    ValueError
        If there are no images or as many titles.
    """
    figure, panels = _gallery(len(images), titles, columns, title)
    for ax, image in zip(panels, images, strict=True):
        ax.imshow(np.asarray(image), **_shades(image))
    return figure


@with_style
def ela_pairs(images, maps, titles=None, columns: int = 3, title: str | None = None):
    """Return pictures with their ELA map at the right of each.

    Parameters
    ----------
    images, maps : sequences of N (H, W, 3) uint8
    titles : sequence of N str, optional
    columns : int
        Pairs in a row.
    title : str, optional

    Raises
    ------
    ValueError
        If the numbers of images, maps and titles differ.
    """
    return _pairs(images, maps, titles, ["ELA"] * len(images), columns, title)


@with_style
def overlay_grid(
    images,
    heats,
    titles=None,
    columns: int = 6,
    opacity: float = 0.5,
    colormap: str = "inferno",
    originals: bool = False,
    title: str | None = None,
):
    """Return pictures with heat maps laid over them.

    Parameters
    ----------
    images : sequence of N (H, W, 3) uint8
    heats : sequence of N (h, w) arrays in [0, 1], or None
        Stretched over the picture; one that is None, all zero or NaN is written as
        "no positive evidence" under the untouched picture.
    titles : sequence of N str, optional
    columns : int
    opacity : float in [0, 1]
    colormap : str
        "inferno" is perceptually uniform; the study used "jet".
    originals : bool
        Put the plain picture at the left of each overlay; use an even number of columns.
    title : str, optional
    """
    n = len(images)
    if len(heats) != n:
        raise ValueError(f"{n} images but {len(heats)} heat maps; each image needs one (or None)")
    if originals:
        images, heats = _interleave(images, images), _interleave([None] * n, heats)
        titles = _interleave(titles or [""] * n, [""] * n)
        plain = [True, False] * n
    else:
        plain = [False] * n
    figure, panels = _gallery(len(images), titles, columns, title)
    over = {"cmap": colormap, "vmin": 0, "vmax": 1, "alpha": opacity}
    for ax, image, heat, skip in zip(panels, images, heats, plain, strict=True):
        ax.imshow(image)
        if not skip:
            _lay_over(ax, np.shape(image), heat, over)
    return figure


def _lay_over(ax, shape, heat, over: dict) -> None:
    if heat is None or not np.nan_to_num(heat).any():
        ax.set_xlabel(NO_EVIDENCE, fontsize=8)
        return
    extent = (-0.5, shape[1] - 0.5, shape[0] - 0.5, -0.5)
    ax.imshow(heat, extent=extent, interpolation="bilinear", **over)


@with_style
def spectrum(spectra: dict, title: str = "Averaged spectra of what is left after smoothing"):
    """Return mean log spectra as pictures, and their radial profiles in one chart below.

    Parameters
    ----------
    spectra : {name: (S, S) array}
        As from `ddlib.traces.spectrum.mean_spectrum`; the colour scale is shared.
    title : str
    """
    columns = max(2, min(4, len(spectra)))
    rows = -(-len(spectra) // columns)
    figure = Chart(figsize=(WIDTH, 3.0 + 2.1 * rows), layout="constrained")
    figure.suptitle(title, x=0.01, ha="left")
    upper, lower = figure.subfigures(2, 1, height_ratios=[2.1 * rows, 2.8])
    panels = upper.subplots(rows, columns, squeeze=False)
    low, high = np.percentile(np.concatenate([s.ravel() for s in spectra.values()]), (1, 99.8))
    for ax, (name, values) in zip(panels.flat, spectra.items(), strict=False):
        edge = {"extent": (-0.5, 0.5, 0.5, -0.5), "interpolation": "nearest"}
        drawn = ax.imshow(values, vmin=low, vmax=high, cmap="viridis", **edge)
        ax.set_title(name)
        ax.set(xticks=(-0.5, 0, 0.5), yticks=(-0.5, 0, 0.5))
        ax.grid(False)
    for ax in panels.flat[len(spectra) :]:
        ax.set_visible(False)
    upper.colorbar(drawn, ax=panels, label="log10 power", shrink=0.8, aspect=14)
    upper.supxlabel("horizontal frequency (cycles per pixel)", fontsize=9)
    upper.supylabel("vertical", fontsize=9)
    _profiles(lower, spectra)
    return figure


def _profiles(figure, spectra: dict) -> None:
    ax = figure.subplots()
    for i, (name, values) in enumerate(spectra.items()):
        ax.plot(*radial_profile(values), color=CYCLE[i % 7], ls=DASHES[i % 7], label=name)
    ax.set(xlabel="frequency (cycles per pixel)", ylabel="mean log10 power", xlim=(0, 0.5))
    legend(figure, ax.get_legend_handles_labels()[0], columns=4)


def _interleave(first, second) -> list:
    return [item for pair in zip(first, second, strict=True) for item in pair]


def _pairs(images, others, titles, notes, columns, title):
    if len(others) != len(images):
        raise ValueError(f"{len(images)} images but {len(others)} maps; each image needs one")
    names = _interleave(titles or [""] * len(images), notes)
    return image_grid(_interleave(images, others), names, 2 * columns, title)


def _gallery(n: int, titles, columns: int, title):
    """Return a figure with n bare panels."""
    if n == 0:
        raise ValueError("no images to show")
    if titles is not None and len(titles) != n:
        raise ValueError(f"{n} images but {len(titles)} titles; give each one, or none")
    rows = -(-n // columns)
    side = WIDTH / columns
    figure, axes = chart(rows * (side + 0.18) + 0.35 * bool(title), rows, columns, title)
    for i, ax in enumerate(axes.flat):
        ax.set(xticks=[], yticks=[])
        ax.spines[:].set_visible(False)
        ax.set_visible(i < n)
        if titles is not None and i < n:
            ax.set_title(titles[i], fontsize=8.5, loc="center", pad=3)
    return figure, axes.flat[:n]


def _shades(image) -> dict:
    """Grey for a picture without colour channels."""
    return {"cmap": "gray"} if np.ndim(image) == 2 else {}


# A false real is a fake that passed, a false fake is a photograph that was accused.
ERRORS = {"false real": FAKE, "false fake": REAL}


def worst_errors(labels, scores, kind: str, n: int = 6, threshold: float = 0.5) -> np.ndarray:
    """Return the positions of up to n errors of a kind, the most certain first.

    Parameters
    ----------
    labels : (N,) array of 0 (real) and 1 (fake)
    scores : (N,) array, P(fake)
    kind : {"false real", "false fake"}
    n : int
    threshold : float

    Returns
    -------
    (m,) int array, m <= n; empty if the model made no such error.

    Examples
    --------
    >>> worst_errors([1, 1, 1, 0], [0.4, 0.1, 0.9, 0.8], "false real").tolist()
    [1, 0]
    """
    labels, scores = check_scores(labels, scores)
    if kind not in ERRORS:
        raise ValueError(f"kind={kind!r} is not known; choose from {', '.join(ERRORS)}")
    wrong = (labels == ERRORS[kind]) & ((scores >= threshold) != (labels == FAKE))
    positions = np.flatnonzero(wrong)
    doubt = scores[positions] if kind == "false real" else -scores[positions]
    return positions[np.argsort(doubt, kind="stable")][:n]


def sample_right_and_wrong(
    labels, scores, n: int, seed: int = 0, threshold: float = 0.5
) -> np.ndarray:
    """Return about n positions: equally many right and wrong decisions of both classes.

    Parameters
    ----------
    labels, scores, threshold
        As in `worst_errors`.
    n : int
        A quarter for each of the four cases; a case with fewer pictures gives all it has.
    seed : int
        Of the draw.

    Returns
    -------
    (m,) int array in rising order, m <= n
    """
    labels, scores = check_scores(labels, scores)
    right = (scores >= threshold) == (labels == FAKE)
    rng, drawn = np.random.default_rng(seed), []
    for label in (REAL, FAKE):
        for outcome in (True, False):
            case = rng.permutation(np.flatnonzero((labels == label) & (right == outcome)))
            drawn.append(case[: n // 4])
    return np.sort(np.concatenate(drawn))
