import http.server
import threading

import keras
import numpy as np
import pytest

from ddlib import mobilenet
from ddlib.mobilenet import WeightsError, build_detector, find_weights, highpass_filters
from ddlib.models.checkpoint import load_detector, save_detector, weights_digest
from ddlib.models.features import split_backbone
from ddlib.models.inference import logit_model
from ddlib.protocol import preset


@pytest.fixture(scope="module")
def small():
    return build_detector(0.25, 64, weights=None, trainable_layers=10)


@pytest.fixture(scope="module")
def pixels():
    return np.random.default_rng(0).integers(0, 256, (3, 64, 64, 3)).astype("float32")


def test_full_size_detector_has_the_size_the_study_states():
    detector = build_detector(1.0, 256, weights=None)
    assert round(detector.count_params() / 1e6, 2) == 4.28  # 3.23 M backbone + 1.05 M head
    assert detector.input_shape == (None, 256, 256, 3)


def test_scaling_is_part_of_the_detector(small):
    assert np.allclose(small.get_layer("pixels")(np.array([0.0, 127.5, 255.0])), [-1, 0, 1])
    study = build_detector(0.25, 64, None, pixel_range=(0, 1))
    assert np.allclose(study.get_layer("pixels")(np.array([0.0, 255.0])), [0, 1])


def test_the_last_ten_layers_are_trained_and_no_other(small):
    trained = {layer.name for layer in small.layers if layer.trainable_weights}
    blocks = {"conv_dw_13", "conv_pw_12", "conv_pw_13"}
    assert trained == blocks | {f"{b}_bn" for b in blocks} | {"features", "logit"}


def test_prefix_then_tail_is_the_detector(small, pixels):
    prefix, tail = split_backbone(small)
    assert prefix.layers[-1].name == "conv_dw_12_relu"
    assert not prefix.trainable_weights
    assert np.allclose(tail(prefix(pixels)), small(pixels, training=False), atol=1e-6)
    logit = logit_model(tail)(prefix(pixels))
    assert np.allclose(keras.ops.sigmoid(logit), small(pixels, training=False), atol=1e-6)


def test_training_the_tail_trains_the_detector(pixels):
    detector = build_detector(0.25, 64, None, trainable_layers=10)
    prefix, tail = split_backbone(detector)
    before = prefix(pixels), detector(pixels, training=False).numpy()
    tail.compile(keras.optimizers.Adam(0.1), "binary_crossentropy")
    tail.train_on_batch(prefix(pixels), np.array([[0.0], [1.0], [0.0]]))
    after = detector(pixels, training=False).numpy()
    assert not np.allclose(before[1], after)
    assert np.array_equal(before[0], prefix(pixels))
    assert np.allclose(tail(prefix(pixels)), after, atol=1e-6)


def test_the_same_seed_gives_the_same_start():
    first, second, other = (
        weights_digest(build_detector(0.25, 64, None, seed=s)) for s in (1, 1, 2)
    )
    assert first == second != other


def test_residual_filters_are_blind_to_smooth_pictures():
    bank = highpass_filters(8)
    assert bank.shape == (3, 3, 3, 8)
    high_pass, smooth = bank[..., :7], bank[..., 7]
    assert np.allclose(high_pass.sum((0, 1)), 0, atol=1e-5)
    assert smooth.sum() == pytest.approx(2)
    detector = build_detector(0.25, 64, "highpass", trainable_layers=76)
    assert np.array_equal(detector.get_layer("conv1").get_weights()[0], bank)
    assert split_backbone(detector)[0].layers[-1].name == "conv_pad_2"


def test_a_frozen_detector_has_no_tail():
    detector = build_detector(0.25, 64, None)
    detector.trainable = False
    with pytest.raises(ValueError, match="no layer of the detector is trainable"):
        split_backbone(detector)


def test_save_and_load_round_trip(small, pixels, tmp_path):
    protocol = preset("clean", "gan", alpha=0.25, image_size=64)
    path = save_detector(small, tmp_path / "d.keras", protocol, {"seconds": 1})
    detector, read, provenance = load_detector(path)
    assert read == protocol
    assert provenance == {"seconds": 1}
    assert np.allclose(detector(pixels), small(pixels, training=False))


def test_a_changed_or_missing_file_is_refused(small, tmp_path):
    protocol = preset("clean", "gan", alpha=0.25, image_size=64)
    path = save_detector(small, tmp_path / "d.keras", protocol)
    with path.open("ab") as file:
        file.write(b"x")
    with pytest.raises(ValueError, match="hashes differ"):
        load_detector(path)
    path.with_suffix(".json").unlink()
    with pytest.raises(FileNotFoundError, match="d.json"):
        load_detector(path)
    with pytest.raises(ValueError, match=".keras"):
        save_detector(small, tmp_path / "d.h5", protocol)


def test_weights_come_from_the_file_that_is_named(small, pixels, tmp_path):
    backbone = keras.Model(small.input, small.get_layer("conv_pw_13_relu").output)
    backbone.save_weights(tmp_path / "w.weights.h5")
    again = build_detector(0.25, 64, tmp_path / "w.weights.h5", seed=5)
    same = keras.Model(again.input, again.get_layer("conv_pw_13_relu").output)
    assert np.allclose(same(pixels), backbone(pixels), atol=1e-6)


def test_weights_of_another_size_or_nowhere(tmp_path):
    (tmp_path / "w.h5").write_bytes(b"no weights")
    with pytest.raises(ValueError, match="w.h5 does not hold"):
        build_detector(0.25, 64, tmp_path / "w.h5")
    with pytest.raises(WeightsError, match="none.h5 does not exist"):
        build_detector(0.25, 64, tmp_path / "none.h5")
    with pytest.raises(ValueError, match="0.25, 0.5, 0.75, 1.0"):
        find_weights(0.3)


@pytest.fixture
def empty_home(tmp_path, monkeypatch):
    home = tmp_path / "keras"
    monkeypatch.setenv("KERAS_HOME", str(home))
    return home


def test_offline_without_weights_the_error_gives_three_ways_out(empty_home, monkeypatch):
    monkeypatch.setattr(mobilenet, "WEIGHTS_URL", "http://127.0.0.1:9/")  # nothing listens there
    with pytest.raises(WeightsError, match=r"\(1\).*\(2\).*KERAS_HOME.*\(3\)"):
        find_weights(0.25)


def test_weights_are_downloaded_into_the_cache_once(empty_home, tmp_path, monkeypatch):
    name = "mobilenet_2_5_224_tf_no_top.h5"
    (tmp_path / name).write_bytes(b"weights")
    asked = []

    class Handler(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *args):
            super().__init__(*args, directory=str(tmp_path))

        def log_message(self, *args):
            asked.append(self.path)

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setattr(mobilenet, "WEIGHTS_URL", f"http://127.0.0.1:{server.server_port}/")
    for _ in range(2):
        file = find_weights(0.25)
        assert file == empty_home / "models" / name
        assert file.read_bytes() == b"weights"
    server.shutdown()
    assert asked == ["/" + name]
