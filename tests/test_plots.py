import ast
import io
from pathlib import Path
from types import SimpleNamespace

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure
from PIL import Image

from ddlib.metrics import calibration
from ddlib.metrics.roc_auc import auc
from ddlib.metrics.score_table import score_table
from ddlib.study.reference import compare_with_study, reference_table
from ddlib.traces.spectrum import mean_spectrum, radial_profile
from ddlib.viz import scores as scores_module
from ddlib.viz import training as training_module
from ddlib.viz.pictures import NO_EVIDENCE, ela_pairs, image_grid, overlay_grid, spectrum
from ddlib.viz.results import compare_with_study_chart, heat_share, result_dots
from ddlib.viz.scores import confusion, roc, score_histogram, thresholds
from ddlib.viz.style import CYCLE, STYLE, save_chart
from ddlib.viz.training import (
    curves,
    deletion_insertion,
    latency,
    randomization,
    training_history,
)

LABELS = np.repeat([0, 1], [30, 40])
SCORES = np.concatenate([np.linspace(0, 0.7, 30), np.linspace(0.3, 1, 40)])
IMAGES = np.random.default_rng(0).integers(0, 256, size=(5, 24, 24, 3), dtype=np.uint8)
EPOCHS = pd.DataFrame(
    {
        "epoch": [1, 2, 3],
        "loss": [0.6, 0.4, 0.2],
        "val_loss": [0.7, 0.5, 0.55],
        "accuracy": [0.6, 0.7, 0.9],
        "val_accuracy": [0.6, 0.75, 0.7],
    }
)
SPEEDS = pd.DataFrame({"name": ["slow", "quick"], "milliseconds": [58.0, 1.6]})
STEPS = pd.DataFrame(
    {
        "randomised": ["logit", "conv1"],
        "similarity": [0.6, 0.1],
        "low": [0.5, 0],
        "high": [0.7, 0.2],
    }
)
HEAT = pd.DataFrame(
    {
        "decision": ["right", "wrong", "right - wrong"],
        "n": [90, 10, 100],
        "share": [0.6, 0.4, 0.2],
        "low": [0.55, 0.2, 0.0],
        "high": [0.65, 0.6, 0.4],
        "chance": [0.3, 0.35, -0.05],
    }
)


def results():
    rows = []
    for model, shift in (("gan+sd", 0.0), ("gan", 0.1)):
        scores = np.clip(SCORES - shift, 0, 1)
        rows.append({"condition": model, "test_set": "gan", **score_table(LABELS, scores)})
        fakes = score_table(LABELS[30:], scores[30:])
        rows.append({"condition": model, "test_set": "sd21", **fakes})
    return pd.DataFrame(rows)


def robustness():
    table = pd.DataFrame({"quality": [95, 30, 70], "accuracy": [0.9, 0.6, 0.8], "condition": "a"})
    return table.assign(accuracy_low=table.accuracy - 0.1, accuracy_high=table.accuracy + 0.1)


def disturbed(**columns):
    """As `ddlib.deploy.robustness.sweep` returns it: as is, JPEG 90 and 30, blur 1."""
    table = pd.DataFrame(
        {
            "disturbance": ["none", "jpeg", "jpeg", "blur"],
            "strength": [np.nan, 90, 30, 1],
            "accuracy": [0.95, 0.9, 0.6, 0.7],
            "flips": [0, 0.05, 0.4, 0.3],
            **columns,
        }
    )
    for name in ("accuracy", "flips"):
        table[f"{name}_low"], table[f"{name}_high"] = table[name] - 0.1, table[name] + 0.1
    return table


def curve(start, end):
    scores = np.linspace([start] * 4, [end] * 4, 11).T + np.array([[-0.1], [0.1], [0], [0]])
    return SimpleNamespace(shares=np.linspace(0, 1, 11), scores=scores)


CHARTS = {
    "history": lambda: training_history(EPOCHS),
    "score_histogram": lambda: score_histogram({"gan": (LABELS, SCORES)}),
    "roc": lambda: roc({"gan": (LABELS, SCORES)}),
    "result_dots": lambda: result_dots(results()),
    "beside_study": lambda: compare_with_study_chart(compare_with_study(results())),
    "confusion": lambda: confusion(score_table(LABELS, SCORES)),
    "reliability": lambda: scores_module.reliability(calibration.reliability(LABELS, SCORES, 5)),
    "thresholds": lambda: thresholds(LABELS, SCORES, {"Youden": 0.4}),
    "curves": lambda: curves(robustness(), "quality", "accuracy", "condition"),
    "robustness": lambda: scores_module.robustness(disturbed()),
    "deletion_insertion": lambda: deletion_insertion(
        {"fused": curve(0.9, 0.2)}, {"fused": curve(0.2, 0.9)}
    ),
    "cascade": lambda: randomization(STEPS),
    "latency": lambda: latency(SPEEDS),
    "heat_share": lambda: heat_share(HEAT),
    "spectrum": lambda: spectrum({"simulated": mean_spectrum(IMAGES)}),
    "image_grid": lambda: image_grid(IMAGES, title="Some"),
    "ela_pairs": lambda: ela_pairs(IMAGES, IMAGES),
    "overlay_grid": lambda: overlay_grid(IMAGES, [np.eye(3)] * 5),
}


def words(figure):
    """Everything that is written in a figure."""
    return [text.get_text() for text in figure.findobj(mpl.text.Text) if text.get_text()]


@pytest.mark.parametrize("name", CHARTS)
def test_every_chart_draws_names_its_axes_and_leaves_no_trace(name):
    before = dict(mpl.rcParams)
    figure = CHARTS[name]()
    assert isinstance(figure, Figure)
    data, size = figure._repr_png_()
    with Image.open(io.BytesIO(data)) as picture:
        assert picture.width == pytest.approx(1.5 * size["width"], abs=2)  # sharp on any screen
        assert len(picture.convert("L").getcolors()) > 3
    assert dict(mpl.rcParams) == before
    if name not in ("image_grid", "ela_pairs", "overlay_grid"):  # pictures have no axes to name
        assert figure.get_suptitle()
        labels = [ax.get_xlabel() for part in (figure, *figure.subfigs) for ax in part.axes]
        assert any(labels) or name == "confusion"  # whose ticks say it


def test_no_module_of_charts_uses_pyplot():
    folder = Path(training_module.__file__).parent
    for path in folder.glob("*.py"):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        imported = [
            ast.unparse(n) for n in ast.walk(tree) if isinstance(n, ast.Import | ast.ImportFrom)
        ]
        assert not [line for line in imported if "pyplot" in line]


def test_ticks_are_made_with_the_look():
    figure = latency(SPEEDS)
    figure._repr_png_()
    assert figure.axes[0].get_xticklabels()[0].get_fontsize() == STYLE["font.size"]


def test_save_makes_folders_and_the_same_bytes(tmp_path):
    first = save_chart(training_history(EPOCHS), tmp_path / "a" / "b" / "one.png")
    second = save_chart(training_history(EPOCHS), str(tmp_path / "two.png"))
    assert first == tmp_path / "a" / "b" / "one.png"
    assert first.read_bytes() == second.read_bytes()
    with Image.open(first) as picture:
        assert set(picture.info) <= {"dpi"}  # no date, no program
    assert [p.name for p in tmp_path.iterdir()] != []
    with pytest.raises(ValueError, match="one.jpg"):
        save_chart(training_history(EPOCHS), tmp_path / "one.jpg")


def test_history_marks_the_epoch_that_is_kept():
    figure = training_history(EPOCHS)
    assert "kept: epoch 2" in words(figure)
    training, validation, kept = figure.axes[0].lines
    assert training.get_ydata().tolist() == [0.6, 0.4, 0.2]
    assert validation.get_ydata().tolist() == [0.7, 0.5, 0.55]
    assert list(kept.get_xdata()) == [2, 2]


def test_histogram_gives_each_class_a_hundred_percent():
    figure = score_histogram(
        {"gan": (LABELS, SCORES), "cats": ([1, 1, 1], [0.1, 0.9, 0.9])}, bins=10
    )
    both, cats, *_ = [ax for ax in figure.axes if ax.get_visible()]
    assert both.get_title("left") == "gan: 30 real, 40 fake"
    assert cats.get_title("left") == "cats: 3 fake"
    for ax, shapes in ((both, 2), (cats, 1)):
        steps = [patch.get_path().vertices for patch in ax.patches]
        areas = [abs(np.trapezoid(v[:, 1], v[:, 0])) for v in steps]
        assert sorted(areas)[-shapes:] == pytest.approx([100 / 10] * shapes)  # 100 % x width 0.1


def test_roc_runs_through_its_points_and_has_its_area():
    labels, scores = [0, 0, 1, 1], [0.1, 0.4, 0.35, 0.8]
    line = roc({"x": (labels, scores)}).axes[0].lines[0]
    points = set(zip(*(np.round(v, 3) for v in line.get_data()), strict=True))
    assert points == {(1.0, 1.0), (0.5, 1.0), (0.5, 0.5), (0.0, 0.5), (0.0, 0.0)}
    line = roc({"x": (LABELS, SCORES)}).axes[0].lines[0]
    area = -np.trapezoid(line.get_ydata(), line.get_xdata())
    assert area == pytest.approx(auc(LABELS, SCORES)[0])


def test_dots_leave_single_class_sets_without_accuracy():
    figure = result_dots(results())
    assert [t.get_text() for t in figure.axes[0].get_yticklabels()] == ["gan"]
    recalls = result_dots(results(), "recall_fake")
    assert [t.get_text() for t in recalls.axes[0].get_yticklabels()] == ["gan", "sd21"]
    assert recalls.axes[0].get_xlabel() == "recall of fakes, with 95 % interval"


def test_dots_sit_at_their_values_with_their_intervals():
    table = results()
    figure = result_dots(table.assign(study=[0.86, None, 0.94, None]), hollow="study")
    ax = figure.axes[0]
    gan, gan_sd = ax.containers  # the study's order of models, not the table's
    assert gan[0].get_xdata().tolist() == [table.accuracy[2]]
    assert gan_sd[0].get_xdata().tolist() == [table.accuracy[0]]
    assert gan[0].get_color() == CYCLE[0] != gan_sd[0].get_color()
    assert gan[0].get_marker() != gan_sd[0].get_marker()
    (ends,) = [s for s in gan[2][0].get_segments() if len(s)][:1]
    assert ends[:, 0] == pytest.approx(table.loc[2, ["accuracy_low", "accuracy_high"]].tolist())
    hollow = [line for line in ax.lines if line.get_markerfacecolor() == "white"]
    assert 0.94 in np.concatenate([line.get_xdata() for line in hollow])
    assert "the study (hollow)" in words(figure)


def test_the_study_is_shown_where_ours_was_not_run():
    nothing = compare_with_study(results()[:0])
    assert set(nothing["verdict"]) == {"not run"}
    figure = compare_with_study_chart(nothing)
    titles = [ax.get_title("left") for ax in figure.axes]
    assert titles == list(reference_table()["table"].unique())
    shown = [x for ax in figure.axes for line in ax.lines for x in line.get_xdata()]
    assert {0.941, 0.516, 0.015} <= set(shown)


def test_confusion_shows_counts_and_shares_of_each_class():
    figure = confusion({"tn": 9008, "fp": 992, "fn": 181, "tp": 9819})
    text = words(figure)
    assert "9,008\n90.1%" in text
    assert "181\n1.8%" in text
    empty = words(confusion({"tn": 0, "fp": 0, "fn": 1, "tp": 3}))
    assert "0" in empty  # no share of nothing
    assert "3\n75.0%" in empty


def test_reliability_compares_several():
    table = calibration.reliability(LABELS, SCORES, 5)
    figure = scores_module.reliability({"before": table, "after": table})
    assert {"before", "after", "perfect"} <= set(words(figure))
    drawn = figure.axes[0].containers[0][0].get_xydata()
    assert np.array_equal(drawn, table[["mean_score", "share_fake"]])


def test_thresholds_draws_both_error_rates():
    figure = thresholds([0, 0, 1, 1], [0.1, 0.6, 0.3, 0.9], {"half": 0.5})
    alarms, misses, mark = figure.axes[0].lines
    at_half = np.flatnonzero(np.isclose(alarms.get_xdata(), 0.5))[0]
    assert alarms.get_ydata()[at_half] == misses.get_ydata()[at_half] == 0.5
    assert (alarms.get_ydata()[0], misses.get_ydata()[0]) == (1, 0)
    assert mark.get_label() == "half: 0.500"


def test_curves_sort_and_can_fall():
    figure = curves(robustness(), "quality", "accuracy", xlabel="JPEG quality", falling=True)
    ax = figure.axes[0]
    assert ax.lines[0].get_xdata().tolist() == [30, 70, 95]
    assert ax.get_xlim()[0] > ax.get_xlim()[1]
    assert len(ax.collections) == 1
    assert figure.get_suptitle() == "Accuracy against JPEG quality"


def test_robustness_starts_each_panel_with_the_undisturbed_pictures():
    figure = scores_module.robustness(disturbed())
    jpeg, blur, jpeg_flips, blur_flips = figure.axes
    assert jpeg.lines[0].get_ydata().tolist() == [0.95, 0.9, 0.6]
    assert blur.lines[0].get_ydata().tolist() == [0.95, 0.7]
    assert jpeg_flips.lines[0].get_ydata().tolist() == [0, 0.05, 0.4]
    assert blur_flips.lines[0].get_ydata().tolist() == [0, 0.3]
    ticks = [[t.get_text() for t in ax.get_xticklabels()] for ax in (jpeg_flips, blur_flips)]
    assert ticks == [["as is", "90", "30"], ["as is", "1"]]
    assert (jpeg_flips.get_xlabel(), blur_flips.get_xlabel()) == ("JPEG quality", "blur (sigma)")
    assert (jpeg.get_ylabel(), jpeg_flips.get_ylabel()) == ("accuracy", "verdicts that flip")
    band = jpeg.collections[0].get_paths()[0].get_extents()
    assert (band.y0, band.y1) == pytest.approx((0.5, 1.05))


def test_robustness_tells_detectors_apart_without_colour():
    two = pd.concat([disturbed(detector="small"), disturbed(detector="large", flips=0.5)])
    figure = scores_module.robustness(two, ("flips",), by="detector")
    small, large = figure.axes[0].lines
    assert large.get_ydata().tolist() == [0.5] * 3
    assert (
        small.get_marker() != large.get_marker() and small.get_linestyle() != large.get_linestyle()
    )
    assert {"small", "large"} <= set(words(figure))


def test_robustness_draws_nothing_where_there_is_no_accuracy():
    figure = scores_module.robustness(disturbed(accuracy=np.nan))
    assert np.isnan(figure.axes[0].lines[0].get_ydata()).all()
    assert figure.axes[2].lines[0].get_ydata().tolist() == [0, 0.05, 0.4]
    figure._repr_png_()  # and it can be shown


def test_deletion_and_insertion_show_means_over_images():
    figure = deletion_insertion({"fused": curve(0.9, 0.2)}, {"fused": curve(0.2, 0.9)})
    down, up = (ax.lines[0].get_ydata() for ax in figure.axes)
    assert (down[0], down[-1]) == pytest.approx((0.9, 0.2))
    assert (up[0], up[-1]) == pytest.approx((0.2, 0.9))


def test_latency_puts_the_slowest_on_top_with_its_value():
    ax = latency(SPEEDS).axes[0]
    assert [t.get_text() for t in ax.get_yticklabels()] == ["quick", "slow"]  # bottom up
    assert [t.get_text() for t in ax.texts] == ["1.6", "58"]


def test_heat_share_leaves_the_difference_to_the_table():
    ticks = [t.get_text() for t in heat_share(HEAT).axes[0].get_yticklabels()]
    assert ticks == ["right (n=90)", "wrong (n=10)"]


def test_spectra_share_one_scale_and_show_their_profiles():
    plain = mean_spectrum(IMAGES)
    figure = spectrum({"a": plain, "b": plain + 1})
    upper, lower = figure.subfigs
    first, second = (ax.images[0] for ax in upper.axes[:2])
    assert first.get_clim() == second.get_clim()
    line = lower.axes[0].lines[1]
    assert np.array_equal(line.get_xydata(), np.transpose(radial_profile(plain + 1)))


def test_gallery_shows_every_picture_and_hides_the_rest():
    figure = image_grid([*IMAGES, IMAGES[0, :12, :, 0]], list("abcdef"), columns=4)
    shown = [ax for ax in figure.axes if ax.get_visible()]
    assert [ax.get_title() for ax in shown] == list("abcdef")
    assert np.array_equal(shown[1].images[0].get_array(), IMAGES[1])
    assert len(figure.axes) == 8


def test_ela_stands_beside_its_picture():
    figure = ela_pairs(IMAGES[:2], IMAGES[2:4], ["one", "two"])
    shown = [ax for ax in figure.axes if ax.get_visible()]
    assert [ax.get_title() for ax in shown] == ["one", "ELA", "two", "ELA"]
    assert np.array_equal(shown[3].images[0].get_array(), IMAGES[3])


@pytest.mark.parametrize("heat", [None, np.zeros((3, 3)), np.full((3, 3), np.nan)])
def test_an_empty_heat_map_is_said_and_not_drawn(heat):
    figure = overlay_grid(IMAGES[:2], [heat, np.eye(3)], opacity=0.4)
    empty, full = [ax for ax in figure.axes if ax.get_visible()]
    assert empty.get_xlabel() == NO_EVIDENCE
    assert len(empty.images) == 1
    assert full.get_xlabel() == ""
    picture, over = full.images
    assert over.get_extent() == list(picture.get_extent())  # stretched over the whole picture
    assert (over.get_alpha(), over.get_clim()) == (0.4, (0, 1))


def test_overlays_can_stand_beside_their_originals():
    figure = overlay_grid(IMAGES[:2], [np.eye(3)] * 2, ["x", "y"], columns=4, originals=True)
    counts = [len(ax.images) for ax in figure.axes]
    assert counts == [1, 2, 1, 2]
    assert [ax.get_title() for ax in figure.axes] == ["x", "", "y", ""]


@pytest.mark.parametrize(
    ("draw", "message"),
    [
        (lambda: image_grid([]), "no images"),
        (lambda: image_grid(IMAGES, ["one"]), "5 images but 1 titles"),
        (lambda: ela_pairs(IMAGES, IMAGES[:2]), "5 images but 2 maps"),
        (lambda: overlay_grid(IMAGES, [None]), "5 images but 1 heat maps"),
        (lambda: score_histogram({"x": ([0, 1], [0.1, 7])}), "score 7.0"),
    ],
)
def test_unequal_numbers_are_named(draw, message):
    with pytest.raises(ValueError, match=message):
        draw()
