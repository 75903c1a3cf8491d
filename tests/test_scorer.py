"""Scoring many images: right values, in order, in bounded memory, with clear errors."""

import numpy as np
import pytest
import tensorflow as tf
import toydetector

from ddlib.data.cache import Rows
from ddlib.deploy.scorer import DetectorError, Scorer


@pytest.fixture(scope="module")
def model():
    return toydetector.converted("float32")


@pytest.mark.parametrize("workers", [1, 3])
def test_logits_are_the_keras_models_in_order_whatever_holds_the_images(model, workers):
    images = toydetector.pictures(37, seed=4)[0]
    scorer = Scorer(model, workers)
    logits = scorer.logits(images)
    assert logits.shape == (37,) and logits.dtype == np.float64 and scorer.image_size == 64
    np.testing.assert_allclose(logits, toydetector.keras_logits(images), atol=1e-3)
    rows = Rows([images[10:20], images[:10]], np.arange(20) // 10 ^ 1, np.arange(20) % 10)
    assert np.array_equal(scorer.logits(rows), logits[:20])
    assert [scorer.logit(image) for image in images[:3]] == logits[:3].tolist()
    assert scorer.logits(images[:0]).shape == (0,)


def test_images_of_another_size_or_type_are_refused(model):
    scorer = Scorer(model, 1)
    with pytest.raises(ValueError, match=r"takes images \(N, 64, 64, 3\) of uint8; got"):
        scorer.logits(np.zeros((2, 32, 32, 3), np.uint8))
    with pytest.raises(ValueError, match="of float32"):
        scorer.logit(np.zeros((64, 64, 3), np.float32))
    assert np.isfinite(scorer.logit(np.zeros((64, 64, 3), np.uint8)))  # and it still works


def test_what_is_no_detector_is_refused(model):
    with pytest.raises(DetectorError, match="cannot be read"):
        Scorer(model[: len(model) // 2])
    run = tf.function(lambda x: x * 2, input_signature=[tf.TensorSpec((1, 4), tf.float32)])
    convert = tf.lite.TFLiteConverter.from_concrete_functions([run.get_concrete_function()])
    with pytest.raises(DetectorError, match=r"takes and gives .*\(1, 4\), 'float32'"):
        Scorer(convert.convert())
