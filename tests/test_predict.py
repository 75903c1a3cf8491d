"""Predictions in Python, and ``ddlib predict`` and ``ddlib export`` as a user calls them."""

import csv
import io
import json
import os
import re
import subprocess
import sys
from itertools import count
from pathlib import Path

import click
import numpy as np
import pytest
import toydetector
from click.testing import CliRunner
from PIL import Image

from ddlib.__main__ import COMMANDS, main
from ddlib.cli.predict import read_list
from ddlib.deploy import predict
from ddlib.deploy.detector import open_detector
from ddlib.deploy.predict import find_face_square, find_files
from ddlib.gradcam import GradCAM
from ddlib.images import faces
from ddlib.images.overlay import overlay
from ddlib.images.read import resize
from ddlib.models.inference import Interpreters
from ddlib.models.train import save_detector
from ddlib.traces.image_warnings import fine_detail


@pytest.fixture(scope="module")
def toy(tmp_path_factory):
    """The file of a toy detector whose verdicts are unsure between 0.4 and 0.6."""
    folder = tmp_path_factory.mktemp("simulated")
    return toydetector.write(folder, reject_band=(0.4, 0.6), temperature=1.5)


@pytest.fixture
def folder(tmp_path):
    """Eight sound pictures, one in a folder below, and one file that is none."""
    place = tmp_path / "some pictures"
    (place / "below").mkdir(parents=True)
    for i, image in enumerate(toydetector.pictures(8, seed=6)[0]):
        Image.fromarray(image).save(place / ("below" if i == 7 else "") / f"é{i}.png")
    (place / "broken.jpg").write_bytes(b"no picture")
    (place / "notes.txt").write_text("not looked at")
    return place


def call(*words, **more):
    return CliRunner().invoke(main, list(map(str, words)), **more)


def rows(*words, **more):
    told = call("predict", *words, "--json", **more)
    return json.loads(told.stdout)["predictions"], told.exit_code


class TestPython:
    """`Detector.predict` and what it returns."""

    def test_one_image_gives_one_prediction_whatever_holds_it(self, folder, toy):
        detector, path = open_detector(toy), folder / "é2.png"
        image = np.asarray(Image.open(path))
        found = detector.predict(path)
        assert found.file == str(path) and found.format == "PNG" and found.error is None
        for source in (str(path), image, Image.open(path)):
            assert detector.predict(source).score == found.score
        assert detector.predict(image).file is None

    def test_several_images_give_a_list_in_order(self, folder, toy):
        detector, images = open_detector(toy), toydetector.pictures(8, seed=6)[0]
        expected = detector.scores(detector.scorer().logits(images)).tolist()
        assert [row.score for row in detector.predict(images)] == expected
        mixed = [images[0], folder / "é1.png", Image.fromarray(images[2]), images[3:5]]
        assert [row.score for row in detector.predict(mixed)] == expected[:5]
        assert [row.score for row in detector.predict(folder / "below")] == expected[7:]
        assert len(detector.predict(images[:1])) == 1

    def test_a_bad_file_has_an_error_and_what_is_no_image_raises(self, folder, toy, tmp_path):
        detector = open_detector(toy)
        broken, sound = detector.predict([folder / "broken.jpg", folder / "é0.png"])
        assert broken.score is None and "convert it to JPEG" in broken.error and sound.error is None
        with pytest.raises(ValueError, match="broken.jpg cannot be explained"):
            broken.explain()
        (tmp_path / "empty").mkdir()
        for source in ([], tmp_path / "empty", np.zeros((0, 64, 64, 3), np.uint8)):
            with pytest.raises(ValueError, match="there is no image"):
                detector.predict(source)
        for source in (7, np.zeros((64, 64), np.uint8), np.zeros((64, 64, 3))):
            with pytest.raises(ValueError):
                detector.predict(source)

    def test_an_explanation_is_grad_cam_of_the_predicted_class(self, tmp_path):
        detector = open_detector(toydetector.save(tmp_path / "own.keras"))
        targets, cam = set(), GradCAM(toydetector.detector())
        for image in toydetector.pictures(4, seed=6)[0]:
            found = detector.predict(image)
            explanation = found.explain()
            assert explanation.target == ("fake" if found.score >= 0.5 else "real")
            expected = cam(image, explanation.target, size=64).heat[0]
            np.testing.assert_allclose(explanation.heat, expected, atol=1e-4)
            np.testing.assert_array_equal(explanation.overlay, overlay(image, explanation.heat))
            targets.add(explanation.target)
        assert targets == {"fake", "real"}
        assert found.explain("real").target == "real"
        saved = explanation.save(tmp_path / "cam.png")
        np.testing.assert_array_equal(np.asarray(Image.open(saved)), explanation.overlay)


def test_a_folder_is_scored_in_order_and_one_bad_file_is_one_row(folder, toy):
    found, status = rows(folder, "--detector", toy)
    names = [os.path.relpath(row["file"], folder).replace(os.sep, "/") for row in found]
    assert names == ["below/é7.png", "broken.jpg", *(f"é{i}.png" for i in range(7))]
    assert status == 1
    assert "convert it to JPEG" in found[1]["error"] and found[1]["score"] is None
    pictures = toydetector.pictures(8, seed=6)[0][[7, *range(7)]]
    expected = 1 / (1 + np.exp(-toydetector.keras_logits(pictures) / 1.5))
    scores = [row["score"] for row in found if not row["error"]]
    assert np.allclose(scores, expected, atol=1e-3)
    for row in found:
        if not row["error"]:
            band = "real" if row["score"] < 0.4 else "fake" if row["score"] >= 0.6 else "unsure"
            assert row["verdict"] == band


def test_table_and_csv_say_the_same_as_json(folder, toy):
    found, _ = rows(folder, "--detector", toy)
    table = call("predict", folder, "--detector", toy)
    assert "no face cut out" in table.stdout and "unsure from 0.40 to 0.60" in table.stdout
    lines = table.stdout.splitlines()[2:]
    assert len(lines) == len(found) and sum("error" in line for line in lines) == 1
    text = call("predict", folder, "--detector", toy, "--csv").stdout
    for line, row, entry in zip(lines, found, csv.DictReader(io.StringIO(text)), strict=True):
        assert row["file"] == entry["file"] and row["file"] in line
        assert entry["verdict"] == (row["verdict"] or "")
        if row["score"] is not None:
            assert float(entry["score"]) == pytest.approx(row["score"], abs=1e-6)
            assert line.split()[0] == f"{row['score']:.3f}"


def test_a_csv_file_is_what_is_printed_and_only_pictures_without_a_score_are_scored(
    folder, toy, tmp_path, monkeypatch
):
    table, words = tmp_path / "out.csv", ("predict", folder, "--detector", toy, "--csv")
    (folder / "=1.png").write_bytes((folder / "é0.png").read_bytes())
    scored = []
    original = predict.predict_files

    def counting(files, *more):
        files = list(files)
        scored.append([file.name for file in files])
        return original(files, *more)

    monkeypatch.setattr(predict, "predict_files", counting)
    whole = call(*words).stdout
    told = call(*words, table)
    assert told.exit_code == 1 and told.stdout == "" and table.read_text("utf-8") == whole
    table.write_bytes(whole.encode()[: whole.index("é3.png") + 9])  # torn in the row of é3.png
    assert call(*words, table).exit_code == 1 and table.read_text("utf-8") == whole
    assert scored.pop() == ["broken.jpg", "é3.png", "é4.png", "é5.png", "é6.png"]
    (folder / "aa.png").write_bytes((folder / "é0.png").read_bytes())
    (folder / "é5.png").unlink()
    told = call(*words, table)
    assert scored.pop() == ["aa.png", "broken.jpg"]
    assert f"10 rows in {table}, 8 of them from before, beside 1 of other pictures" in told.stderr
    assert f"{folder / 'broken.jpg'} (the column error says why)" in told.stderr

    def with_row_of_another(printed):  # of a picture that is not asked for any more
        heading, rest = printed.split("\n", 1)
        (row,) = (line for line in whole.split("\n") if "é5.png" in line)
        return f"{heading}\n{row}\n{rest}"

    assert table.read_text("utf-8") == with_row_of_another(call(*words).stdout)
    (folder / "broken.jpg").write_bytes((folder / "é0.png").read_bytes())  # it was mended
    told = call(*words, table)
    assert told.exit_code == 0 and "without a score" not in told.stderr
    assert table.read_text("utf-8") == with_row_of_another(call(*words).stdout)
    before = len(scored)
    assert call(*words, table).exit_code == 0 and len(scored) == before


def test_a_csv_file_of_another_detector_or_program_is_left_alone(folder, toy, tmp_path):
    table, words = tmp_path / "out.csv", ("predict", folder, "--csv", tmp_path / "out.csv")
    table.write_text("mine\n")
    told = call(*words, "--detector", toy)
    assert told.exit_code == 2 and "name another file" in told.stderr
    assert table.read_text() == "mine\n"
    table.unlink()
    assert call(*words, "--detector", toy).exit_code == 1
    other = toydetector.write(tmp_path / "other", temperature=2.0)
    assert call(*words, "--detector", other).exit_code == 2


def test_a_word_after_csv_or_ray_is_its_value_only_if_it_looks_like_one(folder, toy, tmp_path):
    picture = folder / "é0.png"
    before = picture.read_bytes()
    printed = call("predict", "--detector", toy, "--csv", picture)
    assert printed.exit_code == 0 and str(picture) in printed.stdout
    assert picture.read_bytes() == before
    assert call("predict", "--csv", "--json", picture).exit_code == 2
    told = call("predict", picture, "--detector", toy, "--ray", "--cam", tmp_path / "cam")
    assert told.exit_code == 2 and "--cam" in told.stderr


def test_exit_status_0_when_all_are_read_2_when_there_is_nothing(folder, toy, tmp_path):
    assert call("predict", folder / "below", "--detector", toy).exit_code == 0
    (tmp_path / "empty").mkdir()
    told = call("predict", tmp_path / "empty", "--detector", toy)
    assert told.exit_code == 2 and "there is no image" in told.stderr and told.stdout == ""
    assert call("predict").exit_code == 2
    missing = call("predict", tmp_path / "gone.jpg", "--detector", toy)
    assert missing.exit_code == 1 and "no such file" in missing.stdout
    assert call("predict", folder, "--detector", "nobody").exit_code == 1


def test_patterns_and_lists_are_expanded(folder, toy, monkeypatch):
    found, status = rows(folder / "é[0-2].png", "--detector", toy)
    assert [row["file"][-6:] for row in found] == ["é0.png", "é1.png", "é2.png"] and status == 0
    assert len(rows(folder / "**" / "*.png", "--detector", toy)[0]) == 8
    assert rows(folder / "x*.png", "--detector", toy)[1] == 1
    listed = f"{folder / 'é3.png'}\r\n\n{folder / 'below'}\n"
    found, status = rows("-", "--detector", toy, input=listed)
    assert [row["file"][-6:] for row in found] == ["é3.png", "é7.png"] and status == 0
    assert call("predict", "-", "--detector", toy, input="").exit_code == 2
    odd = folder / "a[1].png"  # a file whose name looks like a pattern
    odd.touch()
    assert list(find_files([str(odd)])) == [odd]


def hostile_names(rng, n=40):
    """Return names of files, bytes, of every kind that Linux allows."""
    parts = [*b"=cmd +1 -x @sum , [a] * %s".split(), b'"', b"'", b" ", b"\n", b"\t", b"\r"]
    parts += [b"\xff\xfe", b"\xc3\xa9", b"\x1b[31m", b"\xe2\x80\xae", "\u4e2d".encode() * 20]
    drawn = [b"".join(rng.choice(parts, rng.integers(1, 5))) for _ in range(n)]
    return sorted({name[:240] + b".png" for name in [*drawn, *parts, b"a" * 240]})


@pytest.mark.skipif(sys.platform != "linux", reason="other systems allow no such names")
def test_every_name_of_a_file_is_scored_listed_and_shown(toy, tmp_path, rng, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names = hostile_names(rng)
    Image.fromarray(toydetector.pictures(2)[0][0]).save("sound.jpg")
    content = Path("sound.jpg").read_bytes()
    for name in names:
        Path(os.fsdecode(name)).write_bytes(content)
    listed = b"\0".join([*names, b""])
    (tmp_path / "bad.png").write_bytes(b"no picture")
    for last, status in ((b"", 0), (b"bad.png\0", 1)):
        found, exit_code = rows("-", "--detector", toy, input=listed + last)
        assert exit_code == status
        assert [os.fsencode(row["file"]) for row in found][: len(names)] == names
        assert all(0 < row["score"] < 1 for row in found[: len(names)])
    env = os.environ | {"PYTHONIOENCODING": "cp1252"}
    for form in ("--csv", "--json", ""):
        words = [sys.executable, "-m", "ddlib", "predict", "-", "--detector", toy, *form.split()]
        told = subprocess.run(words, input=listed + b"bad.png\0", capture_output=True, env=env)
        assert told.returncode == 1 and b"Traceback" not in told.stderr, told.stderr
        text = told.stdout.decode("cp1252")
        assert "\x1b" not in text and "\u202e" not in text
        if form == "--csv":
            cells = [row["file"] for row in csv.DictReader(io.StringIO(text, newline=""))]
            assert len(cells) == len(names) + 1 and not [c for c in cells if c[0] in "=+-@\t\r"]


@pytest.mark.parametrize(
    ("listed", "expected"),
    [
        (b"a\r\n\nb b\n-\nc", ["a", "b b", "-", "c"]),
        (b"\xef\xbb\xbfa.png\nb.png\n", ["a.png", "b.png"]),
        (b"./a 1\0./b\n2\r\0", ["./a 1", "./b\n2\r"]),
        (b"a\nb\0c\n", ["a", "b\0c"]),
        (b"\xff\n", ["\udcff"]),
        (b"", []),
        ("a.png\nb".encode("utf-16"), "UTF-16"),
        ("a.png\nb".encode("utf-16-le"), "UTF-16"),
        ("a.png\nb".encode("utf-16-be"), "UTF-16"),
    ],
)
def test_a_list_is_read_in_bytes(listed, expected):
    if expected == "UTF-16":
        with pytest.raises(click.UsageError, match="UTF-16"):
            list(read_list(io.BytesIO(listed)))
    else:
        assert list(read_list(io.BytesIO(listed))) == expected


def test_what_cannot_be_a_file_is_an_error_of_its_row(folder, toy):
    listed = f"{folder / 'é0.png'}\nno\0file\n{'x' * 300}.png\n{folder / 'é1.png'}\n"
    found, status = rows("-", "--detector", toy, input=listed)
    assert [row["error"] is None for row in found] == [True, False, False, True] and status == 1


@pytest.mark.parametrize("wrong", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("form", ["--json", "--csv"])
def test_a_detector_that_gives_no_number_says_so_for_that_image(
    wrong, form, folder, toy, monkeypatch
):
    run = Interpreters.run
    bad, calls = {2, 5}, count(1)

    def sometimes(self, images):
        return np.full((len(images), 1), wrong) if next(calls) in bad else run(self, images)

    monkeypatch.setattr(Interpreters, "run", sometimes)
    (folder / "broken.jpg").unlink()
    told = call("predict", folder, "--detector", toy, "--workers", 1, form)
    assert told.exit_code == 1
    if form == "--csv":
        found = list(csv.DictReader(io.StringIO(told.stdout)))
    else:
        found = json.loads(told.stdout, parse_constant=pytest.fail)["predictions"]
    assert len(found) == 8 and sum(bool(row["error"]) for row in found) == 2
    for row in found:
        assert bool(row["error"]) == (not row["score"]) == (not row["verdict"])
        assert not row["error"] or "gives" in row["error"]


@pytest.mark.parametrize("kind", ["float32", "int8"])
def test_export_refuses_weights_that_are_not_finite(kind, tmp_path, folder):
    model = toydetector.copy()
    kernel, bias = model.get_layer("logit").get_weights()
    model.get_layer("logit").set_weights([np.full_like(kernel, np.nan), bias])
    own = save_detector(model, tmp_path / "own.keras", toydetector.PROTOCOL)
    (folder / "broken.jpg").unlink()
    words = ("export", own, "--out", tmp_path / "out", "--kind", kind, "--images", folder)
    told = call(*words)
    assert told.exit_code == 1 and re.search("nan|finite", told.stderr)
    assert not list(tmp_path.glob("out/*.tflite"))


@pytest.mark.parametrize(
    ("size", "quality", "warning"),
    [
        ((64, 64), 30, "JPEG quality about 30"),
        ((48, 48), 95, "small: 48 pixels were enlarged to 64"),
        ((30, 30), 95, "tiny: 30 pixels were enlarged to 64"),
        ((9, 9), 95, "tiny: 9 pixels hold no face"),
        ((64, 200), 95, "only its middle square"),
        ((64, 64), 95, None),
        ((200, 150), 95, None),
    ],
)
def test_warnings(size, quality, warning, toy, tmp_path, rng):
    path = tmp_path / "x.jpg"
    noise = rng.integers(0, 256, (*size, 3), np.uint8)
    Image.fromarray(noise).save(path, quality=quality, subsampling=0)
    (row,) = rows(path, "--detector", toy)[0]
    assert [warning in text for text in row["warnings"]] == ([True] if warning else [])


def test_an_enlarged_image_is_noticed(toy, rng):
    image = resize(rng.integers(0, 256, (32, 32, 3), np.uint8), 64)
    (warning,) = open_detector(toy).predict(image).warnings
    assert warning == "no fine detail: enlarged or blurred before"


def test_fine_detail_by_hand(rng):
    slope = np.repeat(np.arange(0, 256, 4, dtype=np.uint8)[None, :, None], 64, 0).repeat(3, 2)
    assert fine_detail(slope) == pytest.approx(0.5)
    assert fine_detail(np.full((64, 64, 3), 7, np.uint8)) == 0
    noise = rng.integers(0, 256, (256, 256, 1)).repeat(3, 2).astype(np.uint8)
    # the spread of a mean of four is half: distances from it halve too
    assert fine_detail(noise) == pytest.approx(2, rel=0.1)


def test_faces_are_cut_out_on_demand(toy, tmp_path, rng, monkeypatch):
    picture = rng.integers(0, 256, (300, 400, 3), np.uint8)
    Image.fromarray(picture).save(tmp_path / "x.png")
    monkeypatch.setattr(faces, "load_cascade", lambda: None)
    monkeypatch.setattr(predict, "find_face", lambda image: (300, 20, 350, 80))
    (row,) = rows(tmp_path / "x.png", "--detector", toy, "--face")[0]
    assert row["region"] == "face"
    # a box of 50 x 60 around (325, 50): a square of 1.8 x 60 = 108, moved down to begin at 0
    assert find_face_square(picture) == (271, 0, 379, 108)
    expected = resize(picture[0:108, 271:379], 64)
    detector = open_detector(toy)
    assert row["score"] == pytest.approx(float(detector.scores(detector.scorer(1).logit(expected))))
    monkeypatch.setattr(predict, "find_face", lambda image: None)
    (row,) = rows(tmp_path / "x.png", "--detector", toy, "--face")[0]
    assert row["region"] == "centre" and "no face found" in row["warnings"][0]

    def missing():
        raise ImportError("finding faces needs OpenCV 4")

    monkeypatch.setattr(faces, "load_cascade", missing)
    told = call("predict", tmp_path / "x.png", "--detector", toy, "--face")
    assert told.exit_code == 2 and "OpenCV 4" in told.stderr


def test_overlays_need_and_use_the_keras_model(folder, toy, tmp_path, monkeypatch):
    told = call("predict", folder, "--detector", toy, "--cam", tmp_path / "cam")
    assert told.exit_code == 1 and "has no .keras file" in told.stderr
    assert told.stdout == ""
    own, below = toydetector.save(tmp_path / "own.keras"), folder / "below"
    (below / "é7.png").rename(below / f"{'é' * 120}.png")
    told = call("predict", below, "--detector", own, "--cam", tmp_path / "cam")
    assert told.exit_code == 0, told.output
    (written,) = (tmp_path / "cam").iterdir()
    assert written.name.startswith("00001-éé")
    assert written.stem.endswith(("-evidence-for-fake", "-evidence-for-real"))
    assert np.asarray(Image.open(written)).shape == (64, 64, 3)
    beside = ("--cam", tmp_path / "more", "--csv", tmp_path / "scores.csv")
    assert call("predict", below, "--detector", own, *beside).exit_code == 0
    assert [path.name for path in (tmp_path / "more").iterdir()] == [written.name]

    def full(*given):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    told = call("predict", below, "--detector", own, "--cam", tmp_path / "other", "--json")
    (row,) = json.loads(told.stdout)["predictions"]
    assert told.exit_code == 1 and "No space left" in row["error"] and row["score"] is not None
    assert not list((tmp_path / "other").iterdir())


# What ends each command with 0 (where that is quick) and with 1; 2 is an option that none has.
EXITS = {
    "cache": (["info"], None),
    "data": (["list"], ["check", "EMPTY"]),
    "explore": (None, None),
    "export": (None, ["nobody", "--out", "OUT"]),
    "notebooks": (["OUT"], None),
    "predict": (["SOUND"], ["gone.jpg"]),
    "report": (None, ["--runs", "EMPTY"]),
    "run": (None, None),
    "sweep": (None, ["curve", "--data", "EMPTY"]),
    "train": (None, ["mine", "--data", "EMPTY", "--out", "OUT"]),
}


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_ends_by_the_same_scheme(name, tmp_path, monkeypatch):
    (tmp_path / "empty").mkdir()
    Image.fromarray(toydetector.pictures(2)[0][0]).save(tmp_path / "sound.png")
    monkeypatch.setenv("DDLIB_CACHE", str(tmp_path / "cache"))
    places = {"EMPTY": tmp_path / "empty", "OUT": tmp_path / "out", "SOUND": tmp_path / "sound.png"}
    for status, words in enumerate(EXITS[name]):
        if words is not None:
            told = call(name, *(places.get(word, word) for word in words))
            assert told.exit_code == status, told.output
    assert call(name, "--no-such-option").exit_code == 2
    assert "Exit status of every command" in call("--help").output


def test_export_writes_a_detector_that_predict_takes(folder, tmp_path):
    own = toydetector.save(tmp_path / "own.keras")
    words = ("export", own, "--out", tmp_path / "out", "--kind", "int8")
    assert "needs --images" in call(*words).stderr
    (folder / "broken.jpg").unlink()
    told = call(*words, "--images", folder)
    assert told.exit_code == 0, told.output
    assert "int8, " in told.stdout and "on 8 images (to which its rounding" in told.stdout
    found, status = rows(folder, "--detector", tmp_path / "out" / "own-int8.tflite")
    assert status == 0 and len(found) == 8
    assert list((tmp_path / "out").iterdir()) and not list((tmp_path / "out").glob(".*"))
