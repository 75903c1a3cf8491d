"""Exported detectors against their Keras model, and the tables of what they keep and cost."""

import shutil
from dataclasses import replace
from functools import partial

import keras
import numpy as np
import pytest
import toydetector

from ddlib.deploy import benchmark
from ddlib.deploy.benchmark import cost_table, export_table
from ddlib.deploy.detector import Detector, open_detector
from ddlib.deploy.export import convert, export, prepared_images
from ddlib.deploy.scorer import Scorer
from ddlib.images.read import ImageError
from ddlib.metrics.score_table import agreement
from ddlib.models.inference import converted, logit_model, runtime


@pytest.mark.parametrize(("kind", "apart"), [("float32", 1e-3), ("float16", 0.1)])
def test_an_export_gives_the_keras_models_logits_from_raw_pixels(kind, apart):
    images = toydetector.pictures(60, seed=1)[0]
    logits = Scorer(toydetector.converted(kind)).logits(images)
    reference = toydetector.keras_logits(images)
    assert np.ptp(reference) > 3  # the toy detector does tell them apart
    assert np.abs(logits - reference).max() < apart
    weights = toydetector.detector().count_params() * (4 if kind == "float32" else 2)
    assert 0.9 * weights < len(toydetector.converted(kind)) < 1.3 * weights


def test_an_int8_model_reads_raw_pixels_whatever_its_pixel_range():
    model = toydetector.network(pixel_range=(0, 1))
    model.set_weights(toydetector.detector().get_weights())
    images = toydetector.pictures(40)[0]
    images.setflags(write=False)
    content = convert(model, "int8", images)
    (given,) = runtime()(model_content=content).get_input_details()
    assert given["dtype"] == np.uint8 and given["quantization"] == (0.0, 0)
    reference = logit_model(model)(images.astype("float32"), training=False).numpy()[:, 0]
    misread = toydetector.keras_logits(images)  # which scales pixels to -1..1
    logits = Scorer(content, 1).logits(images)
    assert np.std(logits - reference) < 0.25 * np.std(reference) < np.std(misread - reference)
    assert model.count_params() < len(content) < 2.4 * model.count_params()  # a byte a weight, more


def test_int8_needs_images_of_its_size():
    model, images = toydetector.detector(), toydetector.pictures()[0]
    for wrong in (None, images[:0], images[:, :32, :32], images.astype("float32")):
        with pytest.raises(ValueError, match=r"representative images of shape \(64, 64, 3\)"):
            convert(model, "int8", wrong)
    with pytest.raises(ValueError, match="float32, float16, int8"):
        convert(model, "int4")


def test_export_writes_a_card_about_the_new_file(tmp_path):
    path = toydetector.save(tmp_path / "own.keras")
    opened = open_detector(path)
    card = replace(opened.card, temperature=3.0, numbers=[{"auc": 1.0}], default=True)
    original = Detector(card, opened.folder)
    export(original, tmp_path / "out" / "x.tflite")
    found = open_detector(tmp_path / "out" / "x.tflite")
    assert found.temperature == 3 and found.protocol == toydetector.PROTOCOL
    assert found.card.sha256 is None and found.card.numbers == [] and not found.card.default
    images = toydetector.pictures(4, seed=5)[0]
    logits = found.scorer().logits(images)
    np.testing.assert_allclose(logits, toydetector.keras_logits(images), atol=1e-3)
    with pytest.raises(ValueError, match="must end in .tflite"):
        export(original, tmp_path / "x.bin")


def test_images_to_fit_to_are_those_of_the_training_split(tiny, tmp_path):
    no_table = shutil.ignore_patterns("*.csv")
    folder = shutil.copytree(tiny.root, tmp_path / "faces", ignore=no_table)
    assert len(prepared_images(folder, toydetector.PROTOCOL, 1000)) == len(tiny)
    tiny.save(folder / "manifest.csv")
    images = prepared_images(folder, toydetector.PROTOCOL, 1000)
    assert len(images) == len(tiny.select(split="train"))
    assert prepared_images(folder, toydetector.PROTOCOL, 5).shape == (5, 64, 64, 3)
    broken = tmp_path / "own"
    broken.mkdir()
    (broken / "empty.jpg").touch()
    with pytest.raises(ImageError, match="empty"):
        prepared_images(broken, toydetector.PROTOCOL, 5)
    (broken / "sound.jpg").write_bytes(tiny.paths[0].read_bytes())
    assert prepared_images(broken, toydetector.PROTOCOL, 5).shape == (1, 64, 64, 3)
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="no .training. image"):
        prepared_images(tmp_path / "empty", toydetector.PROTOCOL, 5)


def test_agreement_by_hand():
    found = agreement([0.2, 0.6, 0.7, 0.9], [0.3, 0.4, 0.7, 0.5], [0, 1, 0, 1])
    assert (found["n"], found["flips"], found["flip_rate"]) == (4, 1, 0.25)
    assert found["max_difference"] == pytest.approx(0.4)
    assert found["mean_difference"] == pytest.approx((0.1 + 0.2 + 0 + 0.4) / 4)
    assert found["auc_loss"] == pytest.approx(0.5 - 0.75)  # the reference orders 2 of 4 pairs right
    assert np.isnan(agreement([0.1], [0.2])["auc_loss"])
    for pair in (([0.1], [0.1, 0.2]), ([], [])):
        with pytest.raises(ValueError, match="reference_scores"):
            agreement(*pair)


def small_network(units):
    image = keras.Input((4, 4, 2))
    return keras.Sequential([image, keras.layers.Conv2D(3, 1), keras.layers.Dense(units)])


def test_costs_by_hand(monkeypatch):
    monkeypatch.setattr(benchmark, "_ROUNDS", 1)
    models = {"b": small_network(5), "a": small_network(1)}
    table = cost_table({name: partial(models.get, name) for name in models})
    assert list(table["name"]) == ["b", "a"]
    assert list(table["parameters"]) == [2 * 3 + 3 + 3 * 5 + 5, 2 * 3 + 3 + 3 + 1]
    assert list(table["multiply_adds"]) == [16 * (2 * 3 + 3 * 5), 16 * (2 * 3 + 3)]
    assert list(table["megabytes"]) == [len(converted(model)) / 1e6 for model in models.values()]
    assert (table[["ms_1", "ms_2", "processor_ms"]] > 0).all(axis=None)


def test_kinds_are_compared_with_the_float32_file_and_that_with_keras(tmp_path, monkeypatch):
    monkeypatch.setattr(benchmark, "KERAS_IMAGES", 25)
    images, labels = toydetector.pictures(40, seed=5)
    contents = {kind: toydetector.converted(kind) for kind in ("float32", "int8")}
    found = open_detector(toydetector.save(tmp_path / "toy.keras"))
    table = export_table(found, contents, images, labels)
    assert list(table["kind"]) == ["keras", "float32", "int8"]
    assert list(table["n"]) == [25, 40, 40]
    assert table["megabytes"].isna().tolist() == [True, False, False]
    keras_row, float_row, int8_row = table.to_dict("records")
    assert 0 < keras_row["max_difference"] < 1e-3 < int8_row["max_difference"]
    assert float_row["flips"] == 0 and float_row["max_difference"] == 0
    assert float_row["auc"] > 0.7 and float_row["auc_low"] < float_row["auc"]
    assert int8_row["auc_loss"] == pytest.approx(float_row["auc"] - int8_row["auc"])
    assert int8_row["megabytes"] == len(contents["int8"]) / 1e6
    assert np.isnan(keras_row["ms_1"]) and int8_row["ms_1"] > 0
