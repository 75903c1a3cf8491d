"""Detectors on disk: found, checked, refused."""

import json
import subprocess
import sys
from collections import Counter
from dataclasses import fields, replace
from itertools import product

import numpy as np
import pytest
import toydetector

from ddlib._utils import file_digest, write_json
from ddlib.deploy.detector import Detector, DetectorError, list_detectors, open_detector
from ddlib.deploy.model_card import Card
from ddlib.protocol import Protocol

CARD = {"protocol": toydetector.PROTOCOL.to_dict(), "tflite_sha256": "0" * 64}


def test_found_by_name_by_file_or_as_the_default(tmp_path):
    assert list(list_detectors()) == ["mobilenet025", "mobilenet075"]
    assert open_detector().name == "mobilenet025"
    assert open_detector("mobilenet075").card.default is False
    write_json(tmp_path / "a.json", CARD)
    assert open_detector(tmp_path / "a.json").folder == tmp_path
    with pytest.raises(DetectorError, match="no detector is named 'c'; there is: mobilenet025, "):
        open_detector("c")
    with pytest.raises(DetectorError, match="c.tflite is missing"):
        open_detector(tmp_path / "c.tflite")
    (tmp_path / "d.keras").touch()
    with pytest.raises(DetectorError, match="d.json is missing"):
        open_detector(tmp_path / "d.keras")


def test_an_installation_without_detectors_says_so(tmp_path, monkeypatch):
    monkeypatch.setattr("ddlib.deploy.detector.SHIPPED", tmp_path)
    with pytest.raises(DetectorError, match="no detector to use; there is: none"):
        open_detector()


def test_every_shipped_detector_is_whole_and_its_card_the_one_for_people():
    for detector in list_detectors().values():
        side = detector.protocol.image_size
        assert np.isfinite(detector.scorer(1).logit(np.zeros((side, side, 3), np.uint8)))
        text = (detector.folder / f"{detector.name}.md").read_text(encoding="utf-8")
        assert text == detector.card.to_markdown()


VALUES = (None, True, 0, -1, 1.5, 2, 1e308, float("nan"), float("inf"), "", "x", "0" * 64)
VALUES += ([0.6, 0.9], [], [2, 3], [0.7, 0.3], [0.5], [None, 1], [{}], ["x"], {})
VALUES += ({"image_size": 64},)


def test_a_card_with_a_changed_field_is_refused_by_name_or_sound(tmp_path):
    """Every field of the card and of its protocol gets every value; NaN and types included."""
    places = [(None, each.name) for each in fields(Card)]
    places += [("protocol", each.name) for each in fields(Protocol)]
    path, refused = tmp_path / "x.json", Counter()
    for (part, name), value in product(places, VALUES):
        card = json.loads(json.dumps(CARD))
        (card[part] if part else card)[name] = value
        path.write_text(json.dumps(card))
        try:
            found = open_detector(path)
        except DetectorError as error:
            assert "x.json" in str(error)
            refused[name] += 1
            continue
        assert 0 < found.temperature < np.inf and 0 <= found.threshold <= 1.0001
        low, high = found.reject_band
        assert 0 <= low <= found.threshold <= high <= 1.0001
        assert (found.scores([-9.0, 9.0]) <= 1).all() and found.card.to_markdown()
    for name, n in {"temperature": 17, "reject_band": 18, "default": 20, "image_size": 17}.items():
        assert refused[name] >= n, (name, refused[name])
    changes = ({"treshold": 0.5}, {"protocol": None}, {"numbers": [{"auc": float("nan")}]})
    texts = ["[1, 2]", "{", "{}", "[" * 99_999, f'{{"temperature": {"9" * 9999}}}']
    texts += [json.dumps(CARD | change) for change in changes]
    for content in (json.dumps(CARD).encode("utf-16"), *map(str.encode, texts)):
        path.write_bytes(content)
        with pytest.raises(DetectorError, match=r"x\.json"):
            open_detector(path)


def test_calibrated_scores_by_hand(tmp_path):
    detector = Detector(Card("x", toydetector.PROTOCOL, temperature=2.0, threshold=0.6), tmp_path)
    # logit 2 ln 3 over temperature 2 is ln 3: three to one
    assert detector.scores([2 * np.log(3), 0, -2 * np.log(3)]) == pytest.approx([0.75, 0.5, 0.25])
    assert detector.scores([-2000.0, 2000.0]).tolist() == [0, 1]
    assert detector.reject_band == (0.6, 0.6)


def test_files_that_are_not_what_the_card_says_are_refused(tmp_path):
    path = toydetector.write(tmp_path)
    assert np.isfinite(open_detector(path).scorer(1).logit(np.zeros((64, 64, 3), np.uint8)))
    data = path.read_bytes()
    path.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    with pytest.raises(DetectorError, match="simulated.tflite is not the file that simulated.json"):
        open_detector(path).scorer()
    path.unlink()
    with pytest.raises(DetectorError, match="has no .tflite file"):
        open_detector(tmp_path / "simulated.json").scorer()
    with pytest.raises(DetectorError, match="has no .keras file"):
        open_detector(tmp_path / "simulated.json").keras_model()
    for suffix, key in ((".tflite", "tflite_sha256"), (".keras", "sha256")):
        path = tmp_path / f"x{suffix}"
        path.write_bytes(b"nothing of use")
        card = {"protocol": CARD["protocol"], key: file_digest(path)}
        write_json(path.with_suffix(".json"), card)
        with pytest.raises(DetectorError, match=r"x(\.keras)? cannot be read"):
            open_detector(path).scorer()
    path = toydetector.write(tmp_path, protocol=replace(toydetector.PROTOCOL, image_size=96))
    with pytest.raises(DetectorError, match="images of 64 pixels, but its card says 96"):
        open_detector(path).scorer()


def test_code_inside_a_model_is_not_run(tmp_path):
    import keras

    inner = [keras.layers.Lambda(lambda x: x), keras.layers.Flatten(), keras.layers.Dense(1)]
    keras.Sequential([keras.Input((64, 64, 3)), *inner]).save(tmp_path / "x.keras")
    card = {"protocol": CARD["protocol"], "sha256": file_digest(tmp_path / "x.keras")}
    write_json(tmp_path / "x.json", card)
    with pytest.raises(DetectorError, match="x.keras cannot be read"):
        open_detector(tmp_path / "x.keras").keras_model()


def test_opening_and_scoring_load_no_tensorflow():
    pytest.importorskip("ai_edge_litert")
    code = (
        "import sys, numpy as np\n"
        "import ddlib.deploy.robustness\n"
        "from ddlib.deploy.detector import open_detector\n"
        "score = open_detector().predict(np.zeros((300, 300, 3), np.uint8)).score\n"
        "print(0 < score < 1, {'tensorflow', 'keras', 'matplotlib', 'sklearn'} & set(sys.modules))"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert run.stdout.strip() == "True set()", run.stderr
    assert run.stderr == ""  # the runtime's announcement is kept from the terminal
