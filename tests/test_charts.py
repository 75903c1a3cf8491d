"""Every chart draws, says what it shows and puts its numbers where they belong."""

import io
import json
import re
import tomllib
from collections import Counter
from itertools import combinations
from pathlib import Path
from types import SimpleNamespace

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
from PIL import Image

from ddlib import data, metrics, viz
from ddlib.data.simulate.dataset import DECODERS
from ddlib.data.subsets import JOINED
from ddlib.deploy.detector import list_detectors
from ddlib.metrics.format import display_name
from ddlib.protocol import CONDITIONS, PROTOCOLS
from ddlib.study.reference import compare_with_study, reference_table
from ddlib.traces.spectrum import mean_spectrum, radial_profile
from ddlib.viz.pictures import NO_EVIDENCE
from ddlib.viz.style import COLORS, MARKERS, OTHERS, WIDTH, save_chart

ROOT = Path(__file__).resolve().parents[1]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
SWEEPS = {
    name: pd.read_csv(ROOT / "figures" / "tables" / f"{name}_large.csv")
    for name in ("curve", "curve_fits", "seed")
}
LABELS = np.repeat([0, 1], [30, 40])
SCORES = np.concatenate([np.linspace(0, 0.7, 30), np.linspace(0.3, 1, 40)])
SETS = {"gan": (LABELS, SCORES), "my cats": ([1, 1, 1], [0.1, 0.9, 0.9])}
IMAGES = np.random.default_rng(0).integers(0, 256, size=(5, 24, 24, 3), dtype=np.uint8)
LOSS = ([0.6, 0.4, 0.2], [0.7, 0.5, 0.55])
EPOCHS = pd.DataFrame({"epoch": [1, 2, 3], "loss": LOSS[0], "val_loss": LOSS[1]})
EPOCHS = EPOCHS.assign(accuracy=[0.6, 0.7, 0.9], val_accuracy=[0.6, 0.75, 0.7])
STEPS = pd.DataFrame({"randomised": ["logit", "conv1"], "target": "fake", "n": 5})
STEPS = STEPS.assign(similarity=[0.6, -0.1], similarity_low=[0.5, -0.4], similarity_high=[0.7, 0])
COSTS = pd.DataFrame({"detector": ["large", "small"], "megabytes": [8.0, 2.5]})
COSTS = COSTS.assign(percent=[np.nan, 1.5], percent_low=[np.nan, 0.5], percent_high=[np.nan, 3.0])
PANELS = {"megabytes": "MB", "percent": "%"}
QUALITY = pd.DataFrame({"quality": [95, 30, 70], "accuracy": [0.9, 0.6, 0.8], "region": "face"})


def results():
    rows = []
    for condition, shift in (("gan+sd", 0.0), ("gan", 0.1)):
        scores = np.clip(SCORES - shift, 0, 1)
        row = {"condition": condition, "tier": "simulated", "valid_auc_low": 0.9}
        rows.append(row | {"test_set": "gan"} | metrics.score_table(LABELS, scores))
        fakes = metrics.score_table(LABELS[30:], scores[30:])
        rows.append(row | {"test_set": "sd21"} | fakes)
    return pd.DataFrame(rows)


def perturbed(**columns):
    """As `ddlib.deploy.robustness.sweep` returns it: as is, JPEG 90 and 30, blur 1."""
    table = pd.DataFrame({"perturbation": ["none", "jpeg", "jpeg", "blur"]})
    table = table.assign(strength=[np.nan, 90, 30, 1], n_real=30, n_fake=30, detector="gan+sd")
    table = table.assign(accuracy=[0.95, 0.9, 0.6, 0.7], flips=[0, 0.05, 0.4, 0.3])
    table = table.assign(**columns)
    for name in ("accuracy", "flips"):
        table[f"{name}_low"], table[f"{name}_high"] = table[name] - 0.1, table[name] + 0.1
    return table


def curve(start, end):
    scores = np.linspace([start] * 4, [end] * 4, 11).T + np.array([[-0.1], [0.1], [0], [0]])
    line = SimpleNamespace(shares=np.linspace(0, 1, 11), scores=scores)
    return {"heat map": line, "random": line}


CHARTS = {
    "training_history": lambda: viz.training_history(EPOCHS),
    "curves": lambda: viz.curves(QUALITY, "quality", "accuracy", "region", "JPEG", "share", "n=5"),
    "deletion_insertion": lambda: viz.deletion_insertion(curve(0.9, 0.2), curve(0.2, 0.9)),
    "randomised": lambda: viz.result_dots(STEPS, "similarity", "target", "randomised"),
    "score_histogram": lambda: viz.score_histogram(SETS),
    "confusion": lambda: viz.confusion({"tn": 9008, "fp": 992, "fn": 181, "tp": 9819}, "Test"),
    "reliability": lambda: viz.reliability({"before": metrics.reliability(LABELS, SCORES, 5)}),
    "thresholds": lambda: viz.thresholds([0, 0, 1, 1], [0.1, 0.6, 0.3, 0.9], {"half": 0.5}),
    "robustness": lambda: viz.robustness(pd.concat([perturbed(), perturbed(detector="mine")])),
    "result_dots": lambda: viz.result_dots(results()),
    "compare_with_study": lambda: viz.compare_with_study_chart(compare_with_study(results())),
    "bars": lambda: viz.bars(COSTS, "detector", PANELS, {"percent": 1}),
    "spectrum": lambda: viz.spectrum({"ffhq": mean_spectrum(IMAGES)}),
    "image_grid": lambda: viz.image_grid(IMAGES, title="Some"),
    "ela_pairs": lambda: viz.ela_pairs(IMAGES, IMAGES, title="Pairs"),
    "overlay_grid": lambda: viz.overlay_grid(IMAGES, [np.eye(3)] * 5, title="Heat"),
    "learning_curve": lambda: viz.learning_curve(SWEEPS["curve"], SWEEPS["curve_fits"]),
    "new_runs": lambda: viz.new_runs(SWEEPS["seed"].query("plan == 'seeds'")),
    "batch_norm_statistics": lambda: viz.batch_norm_statistics(SWEEPS["curve"]),
}


def words(figure):
    """Everything that is written in a figure."""
    return [text.get_text() for text in figure.findobj(mpl.text.Text) if text.get_text()]


def ticks(ax, axis="y"):
    return [label.get_text() for label in getattr(ax, f"get_{axis}ticklabels")()]


@pytest.mark.parametrize("name", CHARTS)
def test_every_chart_is_legible_in_grey_and_has_a_text_for_those_who_cannot_see_it(name):
    before = dict(mpl.rcParams)
    figure = CHARTS[name]()
    data, drawn = figure._repr_png_()
    with Image.open(io.BytesIO(data)) as picture:
        assert picture.width == pytest.approx(1.5 * drawn["width"], abs=2)  # sharp on any screen
        assert picture.info["Description"] == drawn["alt"]
    assert dict(mpl.rcParams) == before and figure.get_figwidth() == WIDTH
    assert drawn["alt"] and figure.get_suptitle() in drawn["alt"]
    shown = [ax for ax in figure.axes if ax.get_visible()]
    for first, second in combinations([ax.get_window_extent() for ax in shown], 2):
        assert not first.shrunk(0.99, 0.99).overlaps(second.shrunk(0.99, 0.99))
    for each in figure.legends:
        assert all(text.get_text() in drawn["alt"] for text in each.get_texts())
        box = each.get_window_extent()
        assert not any(box.overlaps(ax.get_tightbbox()) for ax in shown)
        assert box.x1 <= figure.bbox.x1 and box.y0 >= 0
    for ax in figure.axes:
        lines = [line for line in ax.lines if not line.get_label().startswith("_")]
        assert len({(line.get_marker(), line.get_linestyle()) for line in lines}) == len(lines)


def test_one_colour_means_one_thing():
    assert len(set(COLORS.values()) | set(OTHERS)) == len(COLORS) + len(OTHERS)
    assert len(OTHERS) == len(MARKERS)  # no two of seven series look alike
    assert set(CONDITIONS) < set(COLORS)
    for order in (["clean", "paper"], ["paper", "clean"]):  # the table's order plays no part
        table = results()[::2].assign(protocol=order)
        lines = viz.result_dots(table, by="protocol").legends[0].get_lines()
        assert [(line.get_color(), line.get_marker()) for line in lines] == [
            (COLORS["clean"], "o"),
            (COLORS["paper"], "s"),
        ]


RELIABILITY = metrics.reliability(LABELS, SCORES, 5)
DRAWN = [  # chart, place of the axes and of the line, x or y, places, values
    ("training_history", 0, 0, "y", slice(None), LOSS[0]),
    ("training_history", 0, 1, "y", slice(None), LOSS[1]),
    ("training_history", 0, 2, "x", slice(None), [2, 2]),  # the epoch of lowest validation loss
    ("curves", 0, 0, "x", slice(None), [30, 70, 95]),
    ("deletion_insertion", 0, 0, "y", [0, -1], [0.9, 0.2]),  # means over images
    ("deletion_insertion", 1, 0, "y", [0, -1], [0.2, 0.9]),
    ("reliability", 0, 0, "y", slice(None), RELIABILITY["share_fake"]),
    ("reliability", 1, 0, "y", slice(None), RELIABILITY["n"]),
    ("thresholds", 0, 0, "y", [0, 250], [1, 0.5]),  # reals called fake, at 0 and at 0.5
    ("thresholds", 0, 1, "y", [0, 250], [0, 0.5]),
    ("spectrum", 1, 0, "y", slice(None), radial_profile(mean_spectrum(IMAGES))[1]),
]


@pytest.mark.parametrize(("name", "ax", "line", "axis", "places", "values"), DRAWN)
def test_lines_are_drawn_at_their_numbers(name, ax, line, axis, places, values):
    axes = [each for each in CHARTS[name]().axes if each.lines or each.images]
    drawn = getattr(axes[ax].lines[line], f"get_{axis}data")()
    assert list(np.asarray(drawn)[places]) == pytest.approx(list(values))


@pytest.mark.parametrize(("columns", "n", "lines"), [(1, 1, 4), (2, 2, 3), (3, 3, 4), (6, 12, 2)])
def test_titles_of_pictures_lie_within_the_figure(columns, n, lines):
    titles = ["\n".join(["Gy"] * lines)] * n
    figure = viz.image_grid([np.zeros((8, 8, 3), np.uint8)] * n, titles, columns)
    figure.draw_without_rendering()
    assert max(ax.title.get_window_extent().y1 for ax in figure.axes) <= figure.bbox.y1


def test_axes_say_in_words_what_is_drawn():
    loss, accuracy = CHARTS["training_history"]().axes
    assert (loss.get_ylabel(), accuracy.get_ylabel()) == ("loss", "accuracy")
    deletion, insertion = CHARTS["deletion_insertion"]().axes
    assert deletion.get_xlabel() == "share of pixels blurred"
    assert insertion.get_xlabel() == "share of pixels put back"


def test_a_histogram_gives_each_class_a_hundred_percent():
    both, cats = CHARTS["score_histogram"]().axes
    assert both.get_title("left") == "GAN faces: 30 real, 40 fake"
    assert cats.get_title("left") == "my cats: 3 fake"
    for ax, classes in ((both, 2), (cats, 1)):
        outlines = [band.get_paths()[0].vertices for band in ax.collections]
        areas = [abs(np.trapezoid(v[:, 1], v[:, 0])) for v in outlines]
        assert areas == pytest.approx([100 / 24] * classes)  # 100 % x width of a bin


def test_robustness_starts_each_panel_with_the_unchanged_images():
    figure = viz.robustness(pd.concat([perturbed(), perturbed(detector="x", accuracy=np.nan)]))
    jpeg, blur, jpeg_flips, blur_flips = figure.axes
    assert jpeg.lines[0].get_ydata().tolist() == [0.95, 0.9, 0.6]
    assert blur.lines[0].get_ydata().tolist() == [0.95, 0.7]
    assert np.isnan(jpeg.lines[1].get_ydata()).all()
    assert (jpeg_flips.get_xlabel(), blur_flips.get_xlabel()) == ("JPEG quality", "blur (sigma)")
    assert (jpeg.get_ylabel(), jpeg_flips.get_ylabel()) == ("accuracy", "verdicts that flip")
    assert jpeg_flips.lines[0].get_ydata().tolist() == [0, 0.05, 0.4]
    assert ticks(jpeg_flips, "x") == ["as is", "90", "30"]
    assert {"GAN + SD (n=30 real, 30 fake)", "x (n=30 real, 30 fake)"} <= set(words(figure))


class TestResultDots:
    def test_single_class_sets_have_no_accuracy_and_names_are_words(self):
        assert ticks(CHARTS["result_dots"]().axes[0]) == ["GAN faces (n=70)"]
        recalls = viz.result_dots(results(), "recall_fake")
        names = ["GAN faces (n=40)", "Stable Diffusion 2.1 (n=40)"]
        assert ticks(recalls.axes[0]) == names
        assert recalls.axes[0].get_xlabel() == "recall of fakes, with 95 % interval"
        assert {"GAN", "GAN + SD"} <= set(words(recalls))
        cells = set(words(CHARTS["confusion"]()))
        assert {"9,008\n90.1%", "181\n1.8%", "real\n(n=10,000)"} <= cells

    def test_dots_sit_at_their_values_with_their_intervals(self):
        table = results()
        figure = viz.result_dots(table.assign(study=[0.86, None, 0.94, None]), hollow="study")
        gan, gan_sd = figure.axes[0].containers  # in the study's order, not the table's
        assert gan[0].get_xdata().tolist() == [table.accuracy[2]]
        assert gan_sd[0].get_xdata().tolist() == [table.accuracy[0]]
        assert gan[0].get_marker() != gan_sd[0].get_marker()
        (ends,) = gan[2][0].get_segments()
        assert ends[:, 0] == pytest.approx(table.loc[2, ["accuracy_low", "accuracy_high"]].tolist())
        hollow = [line for line in figure.axes[0].lines if line.get_markerfacecolor() == "white"]
        assert 0.94 in np.concatenate([line.get_xdata() for line in hollow])
        assert "the study (hollow)" in words(figure)

    def test_the_study_is_shown_where_ours_was_not_run(self):
        for table in (compare_with_study(results()[:0]), reference_table()):
            figure = viz.compare_with_study_chart(table)
            titles = [ax.get_title("left") for ax in figure.axes]
            assert titles == [f"the study, {name.lower()}" for name in table["table"].unique()]
            shown = {x for ax in figure.axes for line in ax.lines for x in line.get_xdata()}
            assert set(reference_table()["study"]) <= shown
            assert "interval" not in figure.axes[-1].get_xlabel()  # the study gives none


def test_bars_stand_in_the_table_s_order_with_values_and_goals():
    left, right = CHARTS["bars"]().axes
    assert [bar.get_width() for bar in left.patches] == [8.0, 2.5]
    assert left.get_ylim()[0] > left.get_ylim()[1]  # the first row is on top
    values = [(text.get_text(), text.xy) for text in right.texts if text.get_text()]
    assert values == [("1.5", (3.0, 1))]  # beyond the interval, and nothing where nothing is known
    assert right.get_xlabel() == "%\n(dashed: goal 1)" and left.get_xlabel() == "MB"
    assert right.lines[0].get_xdata()[0] == 1 and not left.lines


@pytest.mark.parametrize("heat", [None, np.zeros((3, 3)), np.full((3, 3), np.nan)])
def test_an_empty_heat_map_is_written_and_not_drawn(heat):
    heats, names = [heat, np.eye(3)], ["x", "y"]
    figure = viz.overlay_grid(IMAGES[:2], heats, names, columns=4, originals=True)
    grid = figure.axes[:4]  # then the colour bar
    assert [len(ax.images) for ax in grid] == [1, 1, 1, 2]
    assert [ax.get_title() for ax in grid] == ["x", "", "y", ""]
    assert [ax.get_xlabel() for ax in grid] == ["", NO_EVIDENCE, "", ""]
    picture, over = grid[3].images
    assert over.get_extent() == list(picture.get_extent())  # stretched over the whole image


@pytest.mark.parametrize("rows", [1, 2, 4])
def test_words_over_and_under_heat_maps_do_not_overlap(rows):
    heats = [None, *[np.eye(3)] * 5] * rows
    names = ["conv_pw_1\n128 x 128"] * len(heats)
    figure = viz.overlay_grid([IMAGES[0]] * len(heats), heats, names, title="Heat")
    figure.draw_without_rendering()
    words = [figure.suptitle(figure.get_suptitle()), figure.axes[-1].xaxis.label]
    words += [text for ax in figure.axes[:-1] for text in (ax.title, ax.xaxis.label)]
    boxes = [text.get_window_extent() for text in words if text.get_text()]
    boxes += [ax.get_window_extent() for ax in figure.axes[:-1]]
    for place, box in enumerate(boxes):
        assert not any(box.overlaps(other) for other in boxes[place + 1 :])


def test_a_draw_has_a_quarter_of_each_case_at_most(rng):
    labels, scores = rng.permutation(np.repeat([0, 1], 30)), rng.random(60)
    drawn, right = viz.sample_right_and_wrong(labels, scores, 12), (scores >= 0.5) == labels
    assert len(set(drawn)) == len(drawn) == 12
    assert set(Counter(zip(labels[drawn], right[drawn], strict=True)).values()) == {3}


@pytest.mark.parametrize(
    ("draw", "message"),
    [
        (lambda: viz.image_grid([]), "no images"),
        (lambda: viz.image_grid(IMAGES, ["one"]), "5 images but 1 titles"),
        (lambda: viz.ela_pairs(IMAGES, IMAGES[:2]), "5 images but 2 maps"),
        (lambda: viz.overlay_grid(IMAGES, [None]), "5 images but 1 heat maps"),
        (lambda: viz.score_histogram({"x": ([0, 1], [0.1, 7])}), "score 7.0"),
        (lambda: viz.worst_errors(LABELS, SCORES, "false cat"), "'false cat'.*false real, false"),
    ],
)
def test_what_cannot_be_drawn_is_named(draw, message):
    with pytest.raises(ValueError, match=message):
        draw()


def test_the_same_chart_is_the_same_file(tmp_path):
    paths = [save_chart(CHARTS["bars"](), tmp_path / name) for name in ("a/one.png", "two.png")]
    assert paths[0].read_bytes() == paths[1].read_bytes()
    with pytest.raises(ValueError, match=r"one\.jpg does not end in \.png"):
        save_chart(CHARTS["bars"](), tmp_path / "one.jpg")


@pytest.mark.parametrize("file", NOTEBOOKS, ids=lambda file: file.stem)
def test_titles_in_notebooks_are_words_and_no_code_names(file):
    cells = json.loads(file.read_text(encoding="utf-8"))["cells"]
    code = "\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "code")
    titles = re.findall(r'title ?= ?f?"(.*)"', code)
    names = {*CONDITIONS, *PROTOCOLS, "sd", "sd15", "sd21", "stylegan", "ffhq"}
    for title in titles:
        plain = re.sub(r"\{.*?\}", " ", title)
        assert not names & set(re.findall(r"[\w+]+", plain)), title
        assert "own}" not in title and "protocols[" not in title


def test_every_source_and_detector_that_comes_with_the_package_has_a_name_in_words():
    kept = tomllib.loads((Path(data.__file__).parent / "sources.toml").read_text(encoding="utf-8"))
    layouts = [layout for each in kept.values() for layout in each.get("layout", [])]
    named = {layout["source"] for layout in layouts if "source" in layout} - {"real", "fake"}
    named |= {*JOINED, *DECODERS, *list_detectors()}
    assert not {name for name in named if display_name(name) == name}
