"""The explorer without a browser: what a state shows, what controls do, what is said of errors."""

import base64
import io
import json
import re
import sys
import threading
from dataclasses import replace

import handmade
import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from ddlib.__main__ import main
from ddlib.data.loader import prepare
from ddlib.deploy.detector import open_detector
from ddlib.gradcam import GradCAM
from ddlib.images.jpeg import recompress
from ddlib.study.study import open_study
from ddlib.viz.explorer import Explorer, explorer
from ddlib.viz.explorer.gallery import Picture, find_models, model_title
from ddlib.viz.explorer.panels import SIDE, Panel
from ddlib.viz.explorer.render import State, render


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    data, runs = handmade.study(tmp_path_factory.mktemp("explorer"))
    return open_study(data, runs, log=lambda line: None)


@pytest.fixture(scope="module")
def models(study):
    return {model_title(file): str(file) for file in find_models(study.folder)}


@pytest.fixture
def state(study, models):
    path = study.manifest.root / "stylegan-0.png"
    return State(Picture(path.name, path, 1.0, "fake", "stylegan"), models["GAN, clean protocol"])


@pytest.fixture
def shown(study):
    found = Explorer(study)
    assert found.wait()
    return found


def pieces(name, content, piece=4_000_000):
    """Return the messages in which the page sends one file."""
    for start in range(0, max(1, len(content)), piece):
        part = [memoryview(content)[start : start + piece]]
        yield {"name": name, "size": len(content), "start": start}, part


def bring(explorer, messages):
    zone = explorer.controls.box.children[2].children[-1]
    for message, buffers in messages:
        zone._handle_custom_msg(message, buffers)


def encoded(image, form="PNG"):
    buffer = io.BytesIO()
    image.save(buffer, form)
    return buffer.getvalue()


class TestRender:
    def test_score_and_map_are_those_of_the_detector_itself(self, state):
        detector = open_detector(state.model)
        given = prepare(np.asarray(Image.open(state.picture.where)), detector.protocol)
        ((view,), _) = render(replace(state, layer="conv_1"))
        model = detector.keras_model()
        assert view.score == pytest.approx(float(model.predict(given[None], verbose=0)[0, 0]))
        expected = GradCAM(model)(given[None], "fake", "conv_1").raw
        np.testing.assert_allclose(view.maps.raw, expected, rtol=1e-4, atol=1e-6)

    def test_a_shipped_detector_says_what_the_command_predict_says_of_the_same_file(
        self, models, tmp_path, rng
    ):
        file = tmp_path / "mine.jpg"
        Image.fromarray(rng.integers(0, 256, (300, 260, 3), dtype=np.uint8)).save(file)
        asked = ["predict", str(file), "--json", "--detector", "mobilenet025"]
        said = CliRunner().invoke(main, asked)
        (expected,) = json.loads(said.stdout)["predictions"]
        model = models["MobileNet V1, width 0.25"]
        for where in (file, file.read_bytes()):
            ((view,), _) = render(State(Picture(file.name, where), model))
            assert (view.score, view.verdict) == (expected["score"], expected["verdict"])

    @pytest.mark.parametrize("size", [(40, 40), (900, 300)])
    def test_the_warnings_are_those_of_the_command_predict(self, models, tmp_path, rng, size):
        file = tmp_path / "mine.png"
        Image.fromarray(rng.integers(0, 256, (*size, 3), dtype=np.uint8)).save(file)
        (expected,) = open_detector("mobilenet025").predict([file])
        state = State(Picture(file.name, file), models["MobileNet V1, width 0.25"])
        remark = render(state)[1][0].remark
        assert expected.warnings and remark == ". ".join(["Own picture", *expected.warnings])

    def test_what_is_cut_off_is_said(self, state):
        cut = replace(state.picture, crop_share=0.7)
        shown = render(replace(state, picture=cut))[1][0]
        assert (
            shown.caption.startswith("Input, middle 70%") and "middle 70% is used" in shown.remark
        )

    def test_the_band_is_the_cards_and_without_a_card_there_is_one_threshold(self, state, models):
        views, panels = render(replace(state, second=models["MobileNet V1, width 0.25"]))
        assert panels[1].band == (0.5, 0.5) and "fake from 0.50" in panels[1].title
        low, high = open_detector("mobilenet025").reject_band
        assert panels[2].band == (low, high)
        assert f"unsure from {low:.2f} to {high:.2f}" in panels[2].title
        assert [view.verdict for view in views] == [panel.word for panel in panels[1:]]

    def test_what_only_changes_the_drawing_never_reaches_the_network(self, state, monkeypatch):
        first = render(state)[1][1].image
        monkeypatch.setattr(GradCAM, "__call__", None)  # calling the network would raise
        module = sys.modules["ddlib.viz.explorer.render"]
        monkeypatch.setattr(module, "image_warnings", None)  # nor is the picture looked at again
        drawing = {"opacity": 0.9, "colormap": "jet", "outline": False, "layer": "mean"}
        for field, value in drawing.items():
            changed = render(replace(state, **{field: value}))[1][1].image
            assert changed.shape == first.shape and (changed != first).any(), field
        assert render(replace(state, ela=90))[1][2].caption == "ELA, quality 90"
        with pytest.raises(TypeError):
            render(replace(state, target="real"))

    def test_resizing_comes_before_jpeg_and_both_change_what_the_model_sees(self, state):
        changes = {}, {"side": 32}, {"side": 32, "jpeg": 5}
        views = [render(replace(state, **change))[0] for change in changes]
        (same,), (small,), (both,) = views
        assert small.score < same.score - 0.1  # the grid does not survive
        assert small.score_before == both.score_before == same.score == same.score_before
        image = Image.open(state.picture.where).resize((32, 32), Image.Resampling.BILINEAR)
        expected = prepare(recompress(np.asarray(image), 5), both.detector.protocol)
        np.testing.assert_array_equal(both.seen, expected)

    def test_without_evidence_the_picture_is_left_alone_and_it_is_said(self, state):
        _, (seen, found) = render(replace(state, target="real"))  # every weight speaks for fake
        assert found.caption.startswith("No evidence for real") and found.scale is None
        assert seen.png == Panel(found.image, "").png

    @pytest.mark.parametrize(
        ("changes", "words"),
        [
            ({"target": "cat"}, "target='cat' is not known"),
            ({"colormap": "mud"}, "colormap='mud'"),
            ({"jpeg": 101}, "quality=101 is out of range"),
            ({"picture": None}, "No picture passes"),
            ({"model": "none.keras"}, "none.keras is missing"),
        ],
    )
    def test_what_cannot_be_shown_is_named(self, state, changes, words):
        with pytest.raises(ValueError, match=words):
            render(replace(state, **changes))

    def test_a_model_that_gives_nan_has_no_verdict(self, study, state, tmp_path):
        model, plain = handmade.detector(np.nan), {"jpeg_quality": None}
        file = handmade.keep_model(tmp_path, "clean-gan", model, study.manifest, **plain)
        with pytest.raises(ValueError, match="look for NaN or overflow in its weights"):
            render(replace(state, model=str(file)))


def test_a_panel_says_in_words_what_it_shows_and_escapes_them():
    grey = np.full((8, 8, 3), 128, np.uint8)
    panel = Panel(grey, "map", "<i>", "unsure", "P(fake) 0.4", 0.4, (0.25, 0.75), ("jet", "1 unit"))
    assert panel.lines == ["<i>", "unsure, P(fake) 0.4", "map", "colours from 0 to 1 unit"]
    for part in ("&lt;i&gt;", "left: 40.0%", "--low: 25.0%; --high: 75.0%", "unsure", "1 unit"):
        assert part in panel.html
    assert Image.open(io.BytesIO(panel.png)).size == (SIDE, SIDE)


def test_finished_models_come_by_name_and_are_called_in_words(tmp_path):
    names = ("paper-gan", "clean-gan+sd", "clean-gan", "clean-gan-seed=1", "clean-gan+ela")
    for name in names:
        (tmp_path / "models" / name).mkdir(parents=True)
        (tmp_path / "models" / name / "detector.keras").touch()
        if name != "clean-gan+ela":  # it is not finished
            (tmp_path / "models" / name / "finished.json").touch()
    titles = ["GAN, clean protocol", "GAN + SD, clean protocol", "GAN, clean protocol, seed=1"]
    titles += ["GAN, study's protocol", "MobileNet V1, width 0.25", "MobileNet V1, width 0.75"]
    assert [model_title(file) for file in find_models(tmp_path)] == titles
    assert model_title("mine-gan.keras") == "mine-gan"


class TestExplorer:
    def test_it_begins_with_a_picture_a_verdict_thumbnails_and_named_controls(self, shown):
        c = shown.controls
        assert "ffhq-0.png. GAN, clean protocol: real, P(fake)" in c.verdict.value
        assert c.error.value == "" and all(thumb.value for thumb in c.thumbs)
        assert [box.layout.display for box in c.panels] == ["", ""] + ["none"] * 3
        assert "12 of 12" in c.count.value and c.picks[0].description.startswith("▶")
        for control in (*c.fields.values(), c.position, c.previous, c.next, c.reset, c.save):
            assert control.description and control.tooltip
        assert all(c.fields[name].index == 0 for name in ("source", "label", "second", "layer"))
        bundle = shown._repr_mimebundle_()  # exported pages get the picture beside the controls
        assert "application/vnd.jupyter.widget-view+json" in bundle and "image/png" in bundle

    def test_each_control_sets_its_field_and_the_state_moves_the_controls(self, shown):
        for name, control in shown.controls.fields.items():
            assert control.value == getattr(shown.state, name)
        shown.controls.fields["opacity"].value = 0.9
        assert shown.state.opacity == 0.9
        shown.set(target="real", jpeg=50)
        assert shown.controls.fields["target"].value == "real"
        assert shown.controls.fields["jpeg"].value == 50

    def test_the_newest_state_wins_and_those_it_overtakes_are_dropped(self, shown, monkeypatch):
        gate, asked = threading.Event(), []

        def slow(state):
            asked.append(state.opacity)
            assert gate.wait(10)
            return render(state)

        monkeypatch.setattr(explorer, "render", slow)
        for opacity in np.arange(0, 1, 0.05).round(2).tolist():
            shown.set(opacity=opacity)
        gate.set()
        assert shown.wait() and asked[-1] == 0.95 and len(asked) <= 2

    def test_next_previous_and_a_thumbnail_go_to_their_picture(self, shown):
        c = shown.controls
        steps = [(c.next, "ffhq-1"), (c.previous, "ffhq-0"), (c.previous, "stylegan-5")]
        for button, name in [*steps, (c.next, "ffhq-0"), (c.picks[6], "stylegan-0")]:
            button.click()
            assert shown.wait() and name in c.verdict.value
        assert c.picks[6].description.startswith("▶") and c.position.value == 7

    def test_filters_that_nothing_passes_say_so_and_reset_puts_all_back(self, shown):
        c, start = shown.controls, shown.state
        shown.set(opacity=0.1, target="real", source="ffhq")
        assert shown.wait() and "6 of 12" in c.count.value
        shown.set(label="fake")
        assert shown.wait() and "No picture passes" in c.error.value and c.next.disabled
        c.reset.click()
        assert shown.wait() and shown.state == start and c.error.value == ""
        assert not c.next.disabled and c.fields["source"].value == "any"

    def test_a_layer_stays_chosen_where_the_other_model_has_it_too(self, shown, models):
        shown.set(layer="conv_1")
        shown.set(model=models["GAN + SD, clean protocol"])
        assert shown.wait() and shown.state.layer == "conv_1"
        shown.set(model=models["MobileNet V1, width 0.25"], decision="right")
        assert shown.wait() and shown.state.layer == "" and shown.controls.error.value == ""
        assert shown.state.decision == "any"  # it has no scores, so nothing to filter by
        assert shown.controls.fields["decision"].disabled

    def test_a_picture_of_ones_own_and_back(self, shown):
        c, content = shown.controls, (shown.study.manifest.root / "stylegan-0.png").read_bytes()
        c.previous.click()  # to the last one, beyond the end of what the filter leaves
        bring(shown, pieces("mine <3.png", content, piece=1000))
        assert shown.wait()
        assert "mine &lt;3.png. GAN, clean protocol: fake" in c.verdict.value
        assert not any(pick.description.startswith("▶") for pick in c.picks)
        shown.set(source="stylegan")  # the gallery changes, the picture stays
        assert shown.wait() and "mine" in c.verdict.value
        c.picks[0].click()
        assert shown.wait() and "stylegan-0.png" in c.verdict.value

    def test_saving_offers_what_is_shown_for_download(self, shown):
        shown.controls.save.click()
        name, data = re.findall('="(.*?)"', shown.controls.link.value)
        picture = Image.open(io.BytesIO(base64.b64decode(data.split(",")[1])))
        assert name == "ffhq-0.png"
        assert "protocol: fake from 0.50" in picture.text["Description"]


class TestHostileFiles:
    """What is brought is shown or refused in words; the controls work on."""

    @pytest.fixture
    def good(self, study):
        return (study.manifest.root / "ffhq-1.png").read_bytes()

    def check(self, shown, good, words):
        """The words are there, no old picture beside them, and the next file is answered."""
        assert shown.wait() and words in shown.controls.error.value
        bring(shown, pieces("next.png", good))
        assert shown.wait() and "next.png. GAN" in shown.controls.verdict.value
        assert shown.controls.error.value == ""

    @pytest.mark.parametrize(
        ("content", "words"),
        [
            (b"", "the content is"),
            (b"no picture at all", "the content is"),
            (encoded(Image.new("L", (30_000, 10))), "too large"),
            (encoded(Image.effect_noise((64, 64), 50), "JPEG")[:700], "cut short"),
        ],
    )
    def test_what_is_no_sound_picture(self, shown, good, content, words):
        bring(shown, pieces("notes.txt", content))
        assert shown.wait() and shown.controls.save.disabled
        assert {box.layout.display for box in shown.controls.panels} == {"none"}
        assert "notes.txt: " in shown.controls.error.value
        self.check(shown, good, words)

    def test_a_message_goes_when_the_same_file_is_brought_again(self, shown, good):
        bring(shown, pieces("next.png", good))
        assert shown.wait()
        bring(shown, [({"error": "These are 2 files; bring one at a time."}, [])])
        self.check(shown, good, "These are 2 files")
        bring(shown, [({"name": "scan.tif", "size": 100_000_001, "start": 0}, [b"II*"])])
        self.check(shown, good, "scan.tif has over 100 MB")

    def test_two_files_whose_pieces_come_mixed(self, shown, good):
        first, second = (list(pieces(f"{n}.png", good, len(good) // 2)) for n in (1, 2))
        bring(shown, [first[0], second[0], first[1]])
        self.check(shown, good, "came mixed")
