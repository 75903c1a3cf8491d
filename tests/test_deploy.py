"""Exported detectors against their Keras twin."""

import keras
import numpy as np
import pytest
import toydetector

from ddlib.deploy import quantisation
from ddlib.deploy.detector import open_detector
from ddlib.deploy.export import KINDS, convert, export, round_weights, write_release
from ddlib.deploy.scorer import Scorer
from ddlib.metrics.agreement import agreement
from ddlib.mobilenet import build_detector
from ddlib.models.inference import logit_model, runtime


@pytest.fixture(scope="module")
def unseen():
    return toydetector.pictures(60, seed=1)


@pytest.mark.parametrize(("kind", "apart"), [("float32", 1e-3), ("float16", 0.1)])
def test_an_export_gives_its_twins_logits_from_raw_pixels(kind, apart, unseen):
    scorer = Scorer(toydetector.converted(kind))
    ours, twin = scorer.logits(unseen[0]), toydetector.keras_logits(unseen[0])
    assert scorer.kind == kind
    assert np.ptp(twin) > 3  # the toy detector does tell them apart
    assert np.abs(ours - twin).max() < apart


def test_int8_follows_its_float_twin(unseen):
    # A guard against a wrong conversion (a misread input range gave 25 % flips here), not the
    # measure of a trained detector: that is taken on real test sets.
    images, labels = unseen
    scorer = Scorer(toydetector.converted("int8"))
    ours, twin = scorer.logits(images), toydetector.keras_logits(images)
    assert scorer.kind == "int8"
    assert np.std(ours - twin) < 0.15 * np.std(twin)
    told = agreement(1 / (1 + np.exp(-ours)), 1 / (1 + np.exp(-twin)), labels)
    assert told["flip_rate"] <= 0.05


def test_an_int8_models_logit_is_no_eight_bit_number():
    # 80 logits on 256 steps would share some; and steps end where the fitted pictures end
    logits = Scorer(toydetector.converted("int8")).logits(toydetector.pictures(80, seed=4)[0])
    assert len(np.unique(logits)) == 80


@pytest.mark.parametrize("pixel_range", [(-1, 1), (0, 1)])
def test_an_int8_model_reads_raw_pixels_whatever_the_range_of_its_pictures(pixel_range):
    model = build_detector(0.25, toydetector.SIZE, None, pixel_range=pixel_range)
    model.set_weights(toydetector.detector().get_weights())
    images = toydetector.pictures(40)[0]
    images.setflags(write=False)
    content = convert(model, "int8", images)
    (given,) = runtime()(model_content=content).get_input_details()
    assert given["dtype"] == np.uint8 and given["quantization"] == (0.0, 0)
    twin = logit_model(model)(images.astype("float32"), training=False).numpy()[:, 0]
    misread = toydetector.keras_logits(127.5 + images / 2 if pixel_range == (-1, 1) else images)
    ours = Scorer(content, 1).logits(images)
    assert np.std(ours - twin) < 0.25 * np.std(twin) < np.std(misread - twin)


@pytest.mark.parametrize(("alpha", "megabytes"), [(0.25, 0.5), (0.75, 3)])
def test_int8_files_are_as_small_as_was_asked(alpha, megabytes, monkeypatch):
    monkeypatch.setattr(quantisation, "gptq_round", lambda rows, _: rows)  # slow, and no matter
    model = build_detector(alpha, 32, None, dense_units=256)
    images = np.random.default_rng(0).integers(0, 256, (4, 32, 32, 3), np.uint8)
    size = len(convert(model, "int8", images))
    assert model.count_params() < size < megabytes * 1e6  # a byte a weight and some more


def test_smaller_kinds_are_smaller():
    full, half, eighth = (len(toydetector.converted(kind)) for kind in KINDS)
    assert eighth < 0.65 * half < 0.65 * 0.6 * full
    weights = toydetector.detector().count_params()
    assert weights * 4 * 0.9 < full < weights * 4 * 1.15


def test_int8_needs_pictures_of_its_size():
    model = toydetector.detector()
    images = toydetector.pictures()[0]
    with pytest.raises(ValueError, match="representative"):
        convert(model, "int8")
    with pytest.raises(ValueError, match="representative"):
        convert(model, "int8", images[:0])
    with pytest.raises(ValueError, match=r"takes \(64, 64, 3\)"):
        convert(model, "int8", images[:, :32, :32])
    with pytest.raises(ValueError, match="float32, float16, int8"):
        convert(model, "int4")


def test_rounding_keeps_eleven_significant_bits():
    class Model:
        weights = [np.array([1 + 2**-10, 1 + 2**-11, 1 + 3 * 2**-11, 1e-30, -3.0], "float32")]

        def get_weights(self):
            return self.weights

        def set_weights(self, weights):
            self.weights = weights

    model = Model()
    round_weights(model)
    (rounded,) = model.weights
    # ties go to the even neighbour; a number too small for half precision stays
    assert rounded[:3].tolist() == [1 + 2**-10, 1.0, 1 + 2**-9]
    assert rounded[3] == pytest.approx(1e-30, rel=2**-11) and rounded[4] == -3


def test_a_shipped_detector_is_small_whole_and_loads_anywhere(tmp_path):
    model = keras.models.clone_model(toydetector.detector())
    model.set_weights(toydetector.detector().get_weights())
    card = {"temperature": 2.0, "unsure": [0.3, 0.6], "licence": "MIT"}
    path = write_release(model, tmp_path, "small", toydetector.PROTOCOL, card)
    found = open_detector(path)
    again = found.keras_model()
    pairs = zip(again.get_weights(), model.get_weights(), strict=True)
    assert all(np.array_equal(ours, theirs) for ours, theirs in pairs)
    assert path.stat().st_size < 0.75 * 4 * model.count_params()
    assert found.protocol == toydetector.PROTOCOL
    assert (found.temperature, found.unsure, found.card["licence"]) == (2.0, (0.3, 0.6), "MIT")
    images = toydetector.pictures(6, seed=2)[0]
    score = again(images.astype("float32"), training=False).numpy()[:, 0]
    logits = found.scorer(1).logits(images)
    assert np.allclose(1 / (1 + np.exp(-logits)), score, atol=5e-3)


def test_weights_that_do_not_fit_half_precision_are_found(tmp_path):
    model = keras.models.clone_model(toydetector.detector())
    model.set_weights(toydetector.detector().get_weights())
    features, logit = model.get_layer("features"), model.get_layer("logit")
    features.set_weights([1e-6 * weight for weight in features.get_weights()])
    logit.set_weights([1e6 * logit.get_weights()[0], logit.get_weights()[1]])
    with pytest.raises(ValueError, match="do not fit half precision"):
        write_release(model, tmp_path, "wide", toydetector.PROTOCOL)
    assert not (tmp_path / "wide.tflite").exists()


def test_export_writes_a_card_that_is_about_the_new_file(tmp_path, monkeypatch):
    monkeypatch.setattr("ddlib.deploy.export.convert", lambda *_: toydetector.converted("float32"))
    card = {"protocol": toydetector.PROTOCOL.to_dict(), "sha256": "a" * 64, "temperature": 3.0}
    card |= {"numbers": [{"auc": 1.0}], "default": True}
    found = open_detector(export(None, tmp_path / "out" / "x.tflite", card))
    assert found.temperature == 3 and found.card["kind"] == "float32"
    assert not found.has(".keras") and {"numbers", "default"}.isdisjoint(found.card)
    assert found.file(".tflite").read_bytes() == toydetector.converted("float32")
    with pytest.raises(ValueError, match="must end in .tflite"):
        export(None, tmp_path / "x.bin", card)


def test_agreement_by_hand():
    told = agreement([0.2, 0.6, 0.7, 0.9], [0.3, 0.4, 0.7, 0.5], [0, 1, 0, 1])
    assert (told["n"], told["flips"], told["flip_rate"]) == (4, 1, 0.25)
    assert told["max_difference"] == pytest.approx(0.4)
    assert told["mean_difference"] == pytest.approx((0.1 + 0.2 + 0 + 0.4) / 4)
    assert told["auc_loss"] == pytest.approx(0.5 - 0.75)  # the twin orders 2 of 4 pairs right
    assert np.isnan(agreement([0.1], [0.2])["auc_loss"])
    with pytest.raises(ValueError, match="one set"):
        agreement([0.1], [0.1, 0.2])
    with pytest.raises(ValueError, match="one set"):
        agreement([], [])
