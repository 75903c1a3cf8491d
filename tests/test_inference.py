"""LiteRT gives what Keras gives, from any number of threads."""

import importlib
import os
import subprocess
import sys

import keras
import numpy as np
import pytest
import toydetector

from ddlib.models import layer_outputs
from ddlib.models.inference import fastest, interpreters


@pytest.fixture(scope="module")
def model():
    """A backbone: convolutions, normalisations with statistics of their own, ReLU6."""
    made = toydetector.with_statistics()
    return keras.Model(made.input, made.get_layer("conv_pw_2_relu").output)


@pytest.mark.parametrize("n", [1, 19])
def test_answers_are_those_of_keras_in_order(model, n):
    images = np.random.default_rng(n).integers(0, 256, (n, 64, 64, 3), np.uint8)
    expected = model(images.astype("float32"), training=False).numpy()
    found = fastest(model)(images)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-3)
    batches = np.split(images, range(3, n, 3))
    stream = list(interpreters(model).stream(iter(batches)))
    assert [len(batch) for batch in stream] == [len(batch) for batch in batches]
    np.testing.assert_array_equal(np.concatenate(stream), found)


def test_another_backend_in_the_environment_is_set_aside_and_one_that_is_loaded_is_named(
    monkeypatch,
):
    code = "import ddlib.gradcam, keras; print(keras.backend.backend())"
    environment = os.environ | {"KERAS_BACKEND": "torch"}
    run = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True)
    assert run.stdout == b"tensorflow\n"
    monkeypatch.setattr(keras.backend, "backend", lambda: "torch")
    with pytest.raises(ImportError, match="Keras runs on torch here; ddlib needs TensorFlow"):
        importlib.reload(layer_outputs)
