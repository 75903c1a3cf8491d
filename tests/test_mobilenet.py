import os
from pathlib import Path

import keras
import numpy as np
import pytest
import toydetector

from ddlib import mobilenet
from ddlib.mobilenet import WEIGHTS_ALPHAS, build_detector, highpass_filters


@pytest.fixture
def short():
    """Three blocks will do where their number plays no part."""
    with toydetector.short_mobilenet():
        yield


def backbone_of(detector):
    """The part that Keras's MobileNet has too, from scaled pixels on."""
    return keras.Model(
        detector.get_layer("pixels").output, detector.get_layer("conv_pw_13_relu").output
    )


def working_weights(rng, shape):
    """Random weights of any layer, of a size that lets the signal through 27 layers (He 2015)."""
    if len(shape) == 1:  # of a batch normalisation
        return rng.uniform(0.5, 1.5, shape)
    fan_in = 9 if shape[-1] == 1 else np.prod(shape[:-1])
    return rng.normal(0, (2 / fan_in) ** 0.5, shape)


def test_block_by_block_it_is_the_mobilenet_of_keras(alpha=0.25):
    ours = backbone_of(build_detector(alpha, 64, weights=None))
    keras.utils.set_random_seed(0)
    theirs = keras.applications.MobileNet((64, 64, 3), alpha, include_top=False, weights=None)
    assert len(theirs.layers) == 86
    assert [layer.name for layer in ours.layers[1:]] == [layer.name for layer in theirs.layers[1:]]
    for mine, other in zip(ours.get_weights(), theirs.get_weights(), strict=True):
        np.testing.assert_array_equal(mine, other)  # one seed gives the same random weights
    rng = np.random.default_rng(0)
    weights = [working_weights(rng, weight.shape) for weight in theirs.get_weights()]
    ours.set_weights(weights)
    theirs.set_weights(weights)
    x = rng.uniform(-1, 1, (2, 64, 64, 3)).astype("float32")
    expected = theirs.predict(x, verbose=0)
    assert expected.std() > 0
    np.testing.assert_array_equal(ours.predict(x, verbose=0), expected)


def test_full_size_detector_has_the_size_the_study_states():
    detector = build_detector(1.0, 256, weights=None)
    assert round(detector.count_params() / 1e6, 2) == 4.28  # 3.23 M backbone + 1.05 M head
    assert detector.input_shape == (None, 256, 256, 3)
    assert np.allclose(detector.get_layer("pixels")(np.array([0.0, 127.5, 255.0])), [-1, 0, 1])


def test_the_last_ten_layers_are_trained_and_no_other():
    detector = build_detector(0.25, 64, weights=None, trainable_layers=10)
    trained = {layer.name for layer in detector.layers if layer.trainable_weights}
    blocks = {"conv_dw_13", "conv_pw_12", "conv_pw_13"}
    assert trained == blocks | {f"{b}_bn" for b in blocks} | {"features", "logit"}


@pytest.mark.parametrize(("trainable_layers", "first"), [(0, "features"), (1000, "conv1")])
def test_none_or_all_of_the_backbone_is_trained(short, trainable_layers, first):
    detector = build_detector(0.25, 64, None, trainable_layers)
    assert next(layer.name for layer in detector.layers if layer.trainable_weights) == first


def test_highpass_filters_are_blind_to_smooth_pictures(short):
    bank = highpass_filters(8)
    assert bank.shape == (3, 3, 3, 8)
    high_pass, smooth = bank[..., :7], bank[..., 7]
    assert np.allclose(high_pass.sum((0, 1)), 0, atol=1e-5)
    assert smooth.sum() == pytest.approx(2)
    detector = build_detector(0.25, 64, "highpass")
    assert np.array_equal(detector.get_layer("conv1").get_weights()[0], bank)


def test_weights_come_from_the_file_that_is_named(short, tmp_path):
    def backbone(detector):
        return keras.Model(detector.input, detector.get_layer("conv_pw_3_relu").output)

    saved = backbone(build_detector(0.25, 64, weights=None))
    saved.save_weights(tmp_path / "w.weights.h5")
    again = backbone(build_detector(0.25, 64, tmp_path / "w.weights.h5", seed=5))
    assert all(map(np.array_equal, saved.get_weights(), again.get_weights()))


@pytest.mark.parametrize("alpha", [0.25, 0.75, 1.0])
def test_the_files_of_keras_load_as_they_are(alpha):
    cache = Path(os.environ.get("KERAS_HOME", Path.home() / ".keras")) / "models"
    file = cache / f"mobilenet_{WEIGHTS_ALPHAS[alpha]}_224_tf_no_top.h5"
    if not file.is_file():
        pytest.skip(f"{file} is not here (set KERAS_HOME to a folder that has it)")
    ours = backbone_of(build_detector(alpha, 96, "imagenet"))
    theirs = keras.applications.MobileNet((96, 96, 3), alpha, include_top=False, weights=file)
    x = np.random.default_rng(0).uniform(-1, 1, (1, 96, 96, 3)).astype("float32")
    np.testing.assert_array_equal(ours.predict(x, verbose=0), theirs.predict(x, verbose=0))


def test_weights_of_another_network_or_nowhere(short, tmp_path):
    (tmp_path / "w.h5").write_bytes(b"no weights")
    with pytest.raises(ValueError, match="w.h5 holds no MobileNet"):
        build_detector(0.25, 64, tmp_path / "w.h5")
    with pytest.raises(FileNotFoundError, match="random.*no such file.*imagenet.*highpass"):
        build_detector(0.25, 64, "random")
    with pytest.raises(ValueError, match="alpha=0.3.*0.25, 0.5, 0.75, 1.0"):
        build_detector(0.3, 64, "imagenet")


@pytest.mark.parametrize(("name", "value"), [("alpha", 0.01), ("image_size", 31)])
def test_an_argument_out_of_range_is_named_with_its_value(name, value):
    with pytest.raises(ValueError) as error:
        build_detector(**({"alpha": 0.25, "image_size": 64, "weights": None} | {name: value}))
    assert str(error.value).startswith(f"{name}={value!r} is out of range")


def test_offline_without_weights_the_error_says_what_to_do(tmp_path, monkeypatch):
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "keras"))
    monkeypatch.setattr(mobilenet, "WEIGHTS_URL", "http://127.0.0.1:9/")  # nothing listens there
    with pytest.raises(FileNotFoundError, match="internet; or .* KERAS_HOME .* weights=None"):
        build_detector(0.25, 64, "imagenet")
