"""The explorer without a browser: what is computed, what controls do, what is said of errors."""

import io
import threading
import time

import handmade
import numpy as np
import pytest
from PIL import Image

from ddlib.data.loader import prepare
from ddlib.gradcam import GradCAM
from ddlib.images.jpeg import recompress
from ddlib.images.read import ImageError
from ddlib.models.checkpoint import load_detector
from ddlib.study.study import open_study
from ddlib.viz.explorer.drop import Brought, DropZone
from ddlib.viz.explorer.engine import BAND, Engine, change
from ddlib.viz.explorer.gallery import (
    THUMB,
    find_models,
    gallery_table,
    matching,
    scores_of,
    thumbnail,
)
from ddlib.viz.explorer.latest import Latest
from ddlib.viz.explorer.live import Explorer
from ddlib.viz.explorer.panels import CAPTION, GAP, HEAD, SCALE, SIDE, Panel, Verdict, draw, outline
from ddlib.viz.explorer.rows import error_message, layer_choices
from ddlib.viz.explorer.terms import Picture, Settings
from ddlib.viz.explorer.twin import show, static_grid

PANELS = slice(8 + HEAD + CAPTION, 8 + HEAD + CAPTION + SIDE)


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    data, runs = handmade.study(tmp_path_factory.mktemp("explorer"))
    return open_study(data, runs, log=lambda line: None)


@pytest.fixture(scope="module")
def models(study):
    return find_models(study.folder)


@pytest.fixture(scope="module")
def engine():
    return Engine()


@pytest.fixture
def shown(study):
    found = Explorer(study)
    assert found.wait()
    return found


def fake(study, number=0):
    return Picture(f"stylegan-{number}.png", study.manifest.root / f"stylegan-{number}.png")


def only(models):
    return {"clean-gan": models["clean-gan"]}


def pixels(png):
    return np.asarray(Image.open(io.BytesIO(png)).convert("RGB")).astype(int)


def bring(zone, name, content, piece=4_000_000):
    """Do to a zone what a page does with one file."""
    told = {"names": [name], "size": len(content)}
    for start in range(0, len(content), piece):
        part = [memoryview(content)[start : start + piece]]
        zone._handle_custom_msg({**told, "start": start}, part)


class TestEngine:
    def test_score_and_map_are_those_of_the_detector_itself(self, study, models, engine):
        detector, protocol, _ = load_detector(models["clean-gan"])
        given = prepare(np.asarray(Image.open(fake(study).where)), protocol)
        (view,) = engine.views(fake(study), only(models), Settings(layer="conv_1"))
        assert view.score == pytest.approx(float(detector.predict(given[None], verbose=0)[0, 0]))
        expected = GradCAM(detector)(given[None], "fake", "conv_1")
        np.testing.assert_allclose(view.maps.raw, expected.raw, rtol=1e-4, atol=1e-6)

    def test_the_map_points_at_the_grid_and_real_evidence_elsewhere(self, study, models, engine):
        (view,) = engine.views(fake(study), only(models), Settings())
        heat = view.maps.heat[0]
        quarter = heat[heat.shape[0] // 2 :, : heat.shape[1] // 2]
        assert view.verdict == "fake" and quarter.sum() > 0.8 * heat.sum()

    def test_recolouring_never_reaches_the_model(self, study, models, monkeypatch):
        engine = Engine()
        first = engine.answer(fake(study), models, Settings())
        monkeypatch.setattr(GradCAM, "_passes", None)  # calling the model would raise
        for settings in (
            *(Settings(opacity=0.9), Settings(colormap="jet"), Settings(outline=False)),
            *(Settings(layer="mean"), Settings(layer="conv_1"), Settings(ela=True)),
        ):
            assert engine.answer(fake(study), models, settings).png != first.png
        with pytest.raises(TypeError):
            engine.answer(fake(study), models, Settings(target="real"))

    def test_resaving_and_resizing_change_what_the_model_sees(self, study, models, engine):
        same, small, coarse = (
            engine.views(fake(study), only(models), settings)[0]
            for settings in (Settings(), Settings(resize=16), Settings(resave=5))
        )
        assert small.score < same.score - 0.2  # the grid does not survive
        assert coarse.score != same.score
        assert small.untouched_score == same.score == same.untouched_score

    def test_change_is_resize_then_jpeg_and_keeps_the_shape(self, rng):
        image = rng.integers(0, 256, (40, 80, 3), dtype=np.uint8)
        assert change(image) is image
        assert change(image, resize=20).shape == (20, 40, 3)
        np.testing.assert_array_equal(change(image, 40, 30), recompress(image, 30))
        with pytest.raises(ValueError, match="resize=3 is too small"):
            change(image, resize=3)

    def test_a_file_written_anew_is_read_anew(self, study, models, tmp_path):
        folder = tmp_path / "run"
        path = handmade.keep_model(folder, "clean-gan", handmade.detector(), study.manifest)
        engine = Engine()
        before = engine.views(fake(study), {"m": path}, Settings())[0].score
        handmade.keep_model(folder, "clean-gan", handmade.detector(0, 0), study.manifest)
        assert engine.views(fake(study), {"m": path}, Settings())[0].score == 0.5 != before

    def test_an_ela_model_shows_what_it_is_given(self, study, tmp_path, engine):
        model = handmade.detector()
        path = handmade.keep_model(
            tmp_path, "clean-gan+ela", model, study.manifest, jpeg_quality=None
        )
        (view,) = engine.views(fake(study), {"m": path}, Settings())
        _, protocol, _ = load_detector(path)
        image = np.asarray(Image.open(fake(study).where))
        np.testing.assert_array_equal(view.ela, prepare(image, protocol))
        np.testing.assert_array_equal(view.seen, image)

    def test_without_evidence_the_picture_is_left_alone_and_it_is_said(self, study, models, engine):
        settings = Settings(target="real")  # every weight here speaks for fake
        (view,) = engine.views(fake(study), only(models), settings)
        assert not view.maps.has_evidence[0]
        drawn = pixels(engine.answer(fake(study), only(models), settings).png)
        left, right = (drawn[PANELS, x : x + SIDE] for x in (GAP, 2 * GAP + SIDE))
        np.testing.assert_array_equal(left, right)

    def test_two_models_stand_side_by_side(self, study, models, engine):
        one = pixels(engine.answer(fake(study), only(models), Settings()).png)
        two = pixels(engine.answer(fake(study), models, Settings()).png)
        assert two.shape == (one.shape[0], one.shape[1] + SIDE + GAP, 3)
        np.testing.assert_array_equal(two[:, : one.shape[1]], one)

    @pytest.mark.parametrize(
        ("settings", "words"),
        [
            (Settings(layer="conv_9"), "no layer 'conv_9'"),
            (Settings(target="cat"), "target='cat' is not known"),
            (Settings(colormap="mud"), "colormap='mud'"),
            (Settings(resave=0), "quality=0 is out of range"),
        ],
    )
    def test_settings_out_of_range_are_named(self, study, models, engine, settings, words):
        with pytest.raises(ValueError, match=words):
            engine.answer(fake(study), models, settings)

    def test_layers_run_from_output_to_input_with_their_resolution(self, models, engine):
        words, values = zip(
            *layer_choices(engine.load(models["clean-gan"]).cam.layers), strict=True
        )
        assert values == ("", "mean", "conv_1")
        assert words[0] == "last: conv_2 (16 x 16)" and words[2] == "conv_1 (64 x 64)"


class TestPanels:
    @pytest.mark.parametrize("score", [0.0, 0.25, 1.0])
    def test_the_marker_stands_at_the_score(self, score):
        said = Verdict("model", "unsure", score, "", BAND)
        grey = np.full((8, 8, 3), 128, np.uint8)
        bar = np.asarray(draw([Panel("", grey, header=said)]))[8 + 58 + 7].sum(1)
        dark = np.flatnonzero(bar < 150)
        assert dark.mean() - GAP == pytest.approx(score * SIDE, abs=2)

    @pytest.mark.parametrize(("n", "columns", "rows"), [(1, 1, 1), (3, 3, 1), (4, 3, 2)])
    def test_a_fourth_panel_begins_a_row(self, n, columns, rows):
        grey = np.full((8, 8, 3), 128, np.uint8)
        width, height = draw([Panel("words", grey)] * n).size
        assert width == columns * SIDE + (columns + 1) * GAP
        assert height == 8 + rows * (CAPTION + SIDE + SCALE)

    def test_long_words_are_cut_to_the_panel(self):
        grey = np.full((8, 8, 3), 255, np.uint8)
        drawn = np.asarray(draw([Panel("long " * 50, grey), Panel("", grey)]))
        between = slice(GAP + SIDE, None)
        assert (drawn[:, between] == 255).all()

    def test_an_outline_has_black_and_white_so_that_it_shows_on_any_colour(self):
        inside = np.zeros((20, 20), bool)
        inside[5:15, 5:15] = True
        for shade in (0, 128, 255):
            drawn = outline(np.full((20, 20, 3), shade, np.uint8), inside)
            assert {0, 255} <= set(drawn.ravel().tolist())
            assert (drawn[8:12, 8:12] == shade).all() and (drawn[:2] == shade).all()
        everywhere = outline(np.full((20, 20, 3), 7, np.uint8), np.ones((20, 20), bool))
        assert (everywhere[5:15, 5:15] == 7).all()


class TestLatest:
    def test_overtaken_requests_are_dropped_and_the_last_one_is_answered(self):
        gate, started, answers = threading.Event(), threading.Event(), []

        def work(request):
            started.set()
            gate.wait(10)
            return request

        worker = Latest(work, lambda done: answers.append(done.result), pause=0)
        worker.submit(0)
        started.wait(10)
        for request in range(1, 50):
            worker.submit(request)
        gate.set()
        assert worker.wait(10)
        assert answers == [0, 49] and worker.dropped == 48

    def test_an_error_is_handed_on_and_the_next_request_still_works(self):
        answers = []
        worker = Latest(lambda x: 1 // x, answers.append, pause=0)
        for request in (0, 1):
            worker.submit(request)
            assert worker.wait(10)
        assert isinstance(answers[0].error, ZeroDivisionError) and answers[0].result is None
        assert answers[1].result == 1 and answers[1].error is None

    def test_all_work_is_on_one_thread(self):
        seen = []
        worker = Latest(lambda _: seen.append(threading.get_ident()), lambda done: None, pause=0)
        for _ in range(3):
            worker.submit(0)
            assert worker.wait(10)
        assert len(set(seen)) == 1 and threading.get_ident() not in seen

    def test_waiting_gives_up(self):
        worker = Latest(lambda _: time.sleep(0.5), lambda done: None)
        worker.submit(0)
        assert not worker.wait(0.01)


class TestGallery:
    def test_models_come_in_the_studys_order_and_only_when_finished(self, study, tmp_path):
        for name in ("paper-gan", "clean-gan+sd", "clean-gan", "clean-gan-seed=1", "clean-gan+ela"):
            (tmp_path / "models" / name).mkdir(parents=True)
            (tmp_path / "models" / name / "detector.keras").touch()
            if name != "clean-gan+ela":
                (tmp_path / "models" / name / "finished.json").touch()
        names = ["clean-gan", "clean-gan+sd", "paper-gan", "clean-gan-seed=1"]
        assert list(find_models(tmp_path)) == names

    def test_filters(self, study, models):
        scores = scores_of(models["clean-gan+sd"])
        table = gallery_table(study.manifest, scores)
        assert len(matching(table)) == 12
        assert set(matching(table, source="ffhq")["label"]) == {"real"}
        some = matching(table, label="fake", scores=(0.6, 1.0))
        assert len(some) and (some["score"] >= 0.6).all()
        wrong = matching(table, decision="wrong")
        right = matching(table, decision="right")
        assert len(wrong) + len(right) == 12
        assert ((wrong["score"] >= 0.5) != (wrong["label"] == "fake")).all()

    def test_without_scores_there_are_no_decisions(self, study):
        table = gallery_table(study.manifest)
        assert set(table["decision"]) == {""}
        assert len(matching(table)) == 12
        assert len(matching(table, scores=(0.0, 0.9))) == 0

    def test_a_picture_that_cannot_be_read_has_a_thumbnail_all_the_same(self, tmp_path):
        small = thumbnail(Picture("gone.png", tmp_path / "gone.png"))
        assert Image.open(io.BytesIO(small)).size == (THUMB,) * 2


class TestDropZone:
    @pytest.fixture
    def zone(self):
        zone, brought = DropZone(description="Drop"), []
        zone.on_files(brought.append)
        return zone, brought

    @pytest.mark.parametrize("piece", [1, 4, 10, 99])
    def test_pieces_make_a_file_once_and_the_next_file_begins_anew(self, zone, piece):
        zone, brought = zone
        for content in (b"0123456789", b"abc"):
            bring(zone, "mine.png", content, piece)
        assert [each.one() for each in brought] == [
            ("mine.png", b"0123456789"),
            ("mine.png", b"abc"),
        ]

    def test_a_file_that_broke_off_is_named_and_does_not_spoil_the_next(self, zone):
        zone, brought = zone
        told = {"names": ["gone.png"], "size": 10}
        zone._handle_custom_msg({**told, "start": 0}, [b"0123"])
        assert not brought
        zone._handle_custom_msg(told, [])
        with pytest.raises(ValueError, match="gone.png could not be read; bring a picture file"):
            brought[0].one()
        zone._handle_custom_msg({**told, "start": 0}, [b"0123"])  # and this one just stops
        bring(zone, "mine.png", b"whole")
        assert brought[1].one() == ("mine.png", b"whole")

    @pytest.mark.parametrize(
        ("names", "size", "words"),
        [
            ([], 0, "is no file; drop a picture file"),
            (["a.png", "b.png"], 3, r"2 files \(a.png, b.png\); bring one"),
            (list("abcd"), 3, r"4 files \(a, b, c, ...\)"),
            (["scan.tif"], 250_000_000, "scan.tif has 250 MB; allowed are 100 MB"),
        ],
    )
    def test_what_cannot_be_taken_is_named(self, names, size, words):
        with pytest.raises(ValueError, match=words):
            Brought(names, size, b"").one()


class TestControls:
    def test_it_begins_with_a_picture_a_verdict_and_thumbnails(self, shown):
        c = shown.controls
        assert "clean-gan: <b>real</b>" in c.verdict.value and c.error.value == ""
        assert pixels(c.image.value).ndim == 3
        assert all(thumb.value for thumb in c.thumbs)
        assert "12 of 12" in c.count.value and c.picks[0].description.startswith("▶")

    def test_every_control_that_is_not_a_picture_has_words(self, shown):
        c = shown.controls
        others = (c.model, c.file, c.position, c.own, c.reset, c.save)
        for control in (*others, *c.filters, *c.of_answer):
            assert control.description and control.tooltip
        for control in (c.source, c.label, c.decision, c.second, c.layer):
            assert control.index == 0  # a choice of None would show nothing

    def test_next_previous_and_a_thumbnail_go_to_their_picture(self, shown):
        c = shown.controls
        for act, name in (
            *((c.next, "ffhq-1"), (c.previous, "ffhq-0"), (c.previous, "stylegan-5")),
            *((c.next, "ffhq-0"), (c.picks[6], "stylegan-0")),
        ):
            act.click()
            assert shown.wait() and name in c.verdict.value
        assert c.picks[6].description.startswith("▶")

    def test_moving_a_slider_turns_its_change_on(self, shown):
        c = shown.controls
        c.position.value = 7
        assert shown.wait()
        before = c.verdict.value
        c.resize.value = 16
        assert shown.wait()
        assert c.resize_on.value and c.verdict.value != before

    def test_filters_that_nothing_passes_say_so_and_reset_puts_all_back(self, shown):
        c = shown.controls
        start = c.image.value
        c.opacity.value, c.target.value, c.second.value = 0.1, "real", "clean-gan+sd"
        c.source.value, c.label.value = "ffhq", "fake"
        assert shown.wait() and "No picture passes" in c.error.value and c.next.disabled
        c.reset.click()
        assert shown.wait() and c.error.value == "" and not c.next.disabled
        assert c.image.value == start and c.source.value == "" == c.second.value

    def test_a_picture_of_ones_own_and_back(self, shown):
        c = shown.controls
        content = (shown.study.manifest.root / "stylegan-0.png").read_bytes()
        bring(c.own, "mine <3.png", content)
        assert shown.wait()
        assert "mine &lt;3.png. clean-gan: <b>fake</b>" in c.verdict.value
        assert not any(pick.description.startswith("▶") for pick in c.picks)
        c.picks[0].click()
        assert shown.wait() and "ffhq-0.png" in c.verdict.value

    def test_a_bad_file_gives_a_sentence_and_no_stale_picture(self, shown):
        c = shown.controls
        bring(c.own, "notes.txt", b"no picture at all")
        assert shown.wait()
        assert "Notes.txt: the content is no image known here" in c.error.value
        assert c.image.layout.visibility == "hidden" and c.save.disabled
        c.next.click()
        assert shown.wait() and c.error.value == "" and c.image.layout.visibility == "visible"

    def test_what_is_not_one_file_gets_a_sentence_and_the_picture_stays(self, shown):
        c = shown.controls
        before = c.image.value
        c.own._handle_custom_msg({"names": ["a.png", "b.png"], "size": 9}, [])
        assert c.error.value.count("These are 2 files (a.png, b.png); bring one at a time.")
        assert shown.wait() and c.image.value == before
        assert c.image.layout.visibility != "hidden"

    def test_a_model_file_is_added_or_refused_with_a_sentence(self, shown, tmp_path):
        c = shown.controls
        c.file.value = str(tmp_path / "none.keras")
        assert "none.keras is missing" in c.error.value
        path = handmade.keep_model(
            tmp_path, "clean-gan", handmade.detector(0, 0), shown.study.manifest
        )
        path.with_name("scores.csv").unlink()
        c.file.value = str(path)
        assert shown.wait() and c.model.value == str(path)
        assert "<b>unsure</b>, P(fake) 0.500" in c.verdict.value and c.decision.disabled

    def test_saving_writes_what_is_shown(self, shown):
        shown.controls.save.click()
        (file,) = (shown.study.folder / "explorer").glob("*.png")
        assert file.read_bytes() == shown.controls.image.value
        assert file.name in shown.controls.said.value and "download=" in shown.controls.said.value

    def test_exported_pages_get_the_picture_instead_of_the_controls(self, shown):
        bundle = shown._repr_mimebundle_()
        assert "application/vnd.jupyter.widget-view+json" in bundle and "image/png" in bundle


def test_the_static_twin_is_shown_where_nobody_can_answer(study):
    figure = show(study)
    assert len([ax for ax in figure.axes if ax.images]) == 6 * 3
    texts = " ".join(ax.get_title(loc="center") for ax in figure.axes)
    assert "clean-gan+sd" in texts and "fake 0." in texts and "is real" in texts
    with pytest.raises(ValueError, match="no trained model is called 'clean-cat'"):
        static_grid(study, ["clean-cat"])


def test_without_a_trained_model_it_says_what_to_run(study, tmp_path):
    from dataclasses import replace

    with pytest.raises(FileNotFoundError, match="run notebook 02"):
        Explorer(replace(study, folder=tmp_path))


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (ImageError("a.jpg: empty; remove it"), "A.jpg: empty; remove it."),
        (KeyError("gone"), "This did not work (KeyError: gone)."),
        (ValueError(""), "This did not work (ValueError: )."),
    ],
)
def test_errors_are_told_as_sentences(error, words):
    assert error_message(error) == words
