"""Detectors on disk: found, checked, refused."""

import json
from dataclasses import replace

import numpy as np
import pytest
import toydetector

from ddlib._io import file_digest, write_json
from ddlib.deploy.detector import Detector, DetectorError, list_detectors, open_detector
from ddlib.models.checkpoint import save_detector

CARD = {"protocol": toydetector.PROTOCOL.to_dict(), "tflite_sha256": "0" * 64}


def test_found_by_name_by_file_or_as_the_default(tmp_path):
    for name, default in {"a": False, "b": True}.items():
        write_json(tmp_path / f"{name}.json", {**CARD, "default": default})
        (tmp_path / f"{name}.tflite").touch()
    assert list(list_detectors(tmp_path)) == ["a", "b"]
    assert open_detector(folder=tmp_path).name == "b"
    assert open_detector("a", tmp_path).name == "a"
    assert open_detector(tmp_path / "a.json").folder == tmp_path
    with pytest.raises(DetectorError, match="no detector is named 'c'; there is: a, b"):
        open_detector("c", tmp_path)
    with pytest.raises(DetectorError, match="c.tflite is missing"):
        open_detector(tmp_path / "c.tflite")
    (tmp_path / "d.keras").touch()
    with pytest.raises(DetectorError, match="d.json is missing"):
        open_detector(tmp_path / "d.keras")


def test_without_any_it_says_so(tmp_path):
    with pytest.raises(DetectorError, match="no detector to use; there is: none"):
        open_detector(folder=tmp_path)


def test_every_shipped_detector_is_whole():
    for detector in list_detectors().values():
        assert np.isfinite(
            detector.scorer(1).logit(np.zeros((detector.protocol.image_size,) * 2 + (3,), np.uint8))
        )


@pytest.mark.parametrize(
    "change",
    [
        {"temperature": 0},
        {"temperature": "warm"},
        {"temperature": float("inf")},
        {"unsure": [0.7, 0.3]},
        {"unsure": [0.5]},
        {"unsure": [-0.1, 0.5]},
        {"protocol": {"image_size": 64}},
        {"protocol": None},
    ],
)
def test_a_card_that_cannot_be_is_refused(change, tmp_path):
    with pytest.raises(DetectorError, match="x.json"):
        Detector("x", tmp_path, {**CARD, **change})


def test_a_card_that_is_no_card_is_refused(tmp_path):
    for text in ("[1, 2]", "{", "{}"):
        (tmp_path / "x.json").write_text(text)
        with pytest.raises(DetectorError, match="x.json"):
            open_detector(tmp_path / "x.json")


def test_calibrated_scores_by_hand(tmp_path):
    detector = Detector("x", tmp_path, {**CARD, "temperature": 2.0, "threshold": 0.6})
    # logit 2 ln 3 over temperature 2 is ln 3: three to one
    assert detector.scores([2 * np.log(3), 0, -2 * np.log(3)]) == pytest.approx([0.75, 0.5, 0.25])
    assert detector.scores([-2000.0, 2000.0]).tolist() == [0, 1]
    assert detector.unsure == (0.6, 0.6)


def test_a_damaged_or_changed_file_is_refused(tmp_path):
    path = toydetector.write(tmp_path)
    assert np.isfinite(open_detector(path).scorer(1).logit(np.zeros((64, 64, 3), np.uint8)))
    data = path.read_bytes()
    path.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    with pytest.raises(
        DetectorError, match=r"simulated.tflite is not the file that simulated.json.*hashes"
    ):
        open_detector(path).scorer()
    path.write_bytes(data[: len(data) // 2])
    with pytest.raises(DetectorError, match="hashes differ"):
        open_detector(path).scorer()
    path.unlink()
    with pytest.raises(DetectorError, match="simulated.tflite is missing"):
        open_detector(tmp_path / "simulated.json").scorer()


def test_a_corrupt_file_that_its_card_describes_is_refused(tmp_path):
    for suffix, key in ((".tflite", "tflite_sha256"), (".keras", "sha256")):
        path = tmp_path / f"x{suffix}"
        path.write_bytes(b"nothing of use")
        card = {"protocol": CARD["protocol"], key: file_digest(path)}
        write_json(path.with_suffix(".json"), card)
        with pytest.raises(DetectorError, match=rf"x{suffix} cannot be read"):
            open_detector(path).scorer()


def test_a_model_of_another_size_than_its_card_is_refused(tmp_path):
    protocol = replace(toydetector.PROTOCOL, image_size=96).to_dict()
    path = toydetector.write(tmp_path, protocol=protocol)
    with pytest.raises(DetectorError, match="pictures of 64 pixels, but its card says 96"):
        open_detector(path).scorer()


def test_the_kind_of_file_that_is_not_there_is_named(tmp_path):
    detector = open_detector(toydetector.write(tmp_path))
    assert detector.has(".tflite") and not detector.has(".keras")
    with pytest.raises(DetectorError, match="comes without a .keras file"):
        detector.keras_model()


def test_what_training_saves_is_a_detector(tmp_path):
    path = save_detector(toydetector.detector(), tmp_path / "own.keras", toydetector.PROTOCOL)
    detector = open_detector(path)
    images = toydetector.pictures(4, seed=5)[0]
    assert np.allclose(
        detector.scorer(1).logits(images), toydetector.keras_logits(images), atol=1e-3
    )


def test_code_inside_a_model_is_not_run(tmp_path):
    import keras

    inner = [keras.layers.Lambda(lambda x: x), keras.layers.Flatten(), keras.layers.Dense(1)]
    keras.Sequential([keras.Input((64, 64, 3)), *inner]).save(tmp_path / "x.keras")
    card = {"protocol": CARD["protocol"], "sha256": file_digest(tmp_path / "x.keras")}
    (tmp_path / "x.json").write_text(json.dumps(card))
    with pytest.raises(DetectorError, match="x.keras cannot be read"):
        open_detector(tmp_path / "x.keras").keras_model()
