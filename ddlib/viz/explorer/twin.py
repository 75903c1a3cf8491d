"""The explorer's static twin: a figure of the same where nobody can move a control."""

from __future__ import annotations

from collections.abc import Sequence

from ddlib.gradcam import MEAN
from ddlib.images.overlay import overlay
from ddlib.protocol import LABELS
from ddlib.viz.explorer.engine import Engine
from ddlib.viz.explorer.gallery import gallery_table, picture_of, scores_of
from ddlib.viz.explorer.live import Explorer, need_models
from ddlib.viz.explorer.terms import Settings
from ddlib.viz.pictures import image_grid, sample_right_and_wrong
from ddlib.viz.style import headless


def show(study, **options):
    """Return the explorer of a study, or its static twin where nobody can answer (headless).

    Parameters
    ----------
    study : ddlib.study.study.Study
    **options
        As `Explorer` takes them.
    """
    return static_grid(study) if headless() else Explorer(study, **options)


def static_grid(
    study,
    models: Sequence[str] | None = None,
    n: int = 6,
    target: str = "fake",
    layer: str | None = None,
):
    """Return a figure of what the explorer shows: pictures, and each model's map and verdict.

    Parameters
    ----------
    study : ddlib.study.study.Study
    models : sequence of str, optional
        Names such as "clean-gan"; by default the first two that are trained.
    n : int
        Pictures, drawn so that right and wrong decisions of the first model are in balance.
    target, layer
        As in `ddlib.viz.explorer.terms.Settings`.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    FileNotFoundError
        If the study has no trained model.
    ValueError
        If a model or a layer is unknown.
    """
    chosen = _chosen_models(study, models)
    table = gallery_table(study.manifest, scores_of(next(iter(chosen.values()))))
    settings = Settings(target=target, layer=layer)
    engine, images, titles = Engine(), [], []
    for row in table.iloc[_drawn(table, n)].itertuples():
        picture = picture_of(study.manifest.root, row)
        views = engine.views(picture, chosen, settings)
        images += [views[0].seen, *(overlay(view.seen, view.maps.heat[0]) for view in views)]
        titles += [f"{row.source}\nis {row.label}"]
        titles += [_title(view) for view in views]
    where = {None: "the last convolution", MEAN: "mean of all layers"}.get(layer, layer)
    title = f"Evidence for {target} at {where}; the number is P(fake)"
    title += " (simulated)" if study.simulated else ""
    columns = (1 + len(chosen)) * max(1, 6 // (1 + len(chosen)))
    return image_grid(images, titles, columns, title)


def _chosen_models(study, models) -> dict:
    found = need_models(study)
    unknown = [name for name in models or () if name not in found]
    if unknown:
        raise ValueError(f"no trained model is called {unknown[0]!r}; there are {', '.join(found)}")
    return {name: found[name] for name in models or list(found)[:2]}


def _title(view) -> str:
    empty = "" if view.maps.has_evidence[0] else ", empty map"
    return f"{view.model}\n{view.verdict} {view.score:.2f}{empty}"


def _drawn(table, n: int):
    """Return the places of n pictures: right and wrong decisions of both classes in balance."""
    scores = table["score"].fillna(0.5)
    places = sample_right_and_wrong(table["label"].map(LABELS), scores, 4 * n)
    return places[:: max(1, len(places) // n)][:n]
