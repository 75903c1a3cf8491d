"""Training every layer on augmented windows."""

from dataclasses import replace

import numpy as np
import pytest

from ddlib.data.cache import Cache
from ddlib.data.loader import load_images
from ddlib.images.perturb import Augmentation
from ddlib.models.checkpoint import weights_digest
from ddlib.models.finetuning import Recipe, augmented_batches, finetune, recipe
from ddlib.models.train import build_from_protocol

SMALL = recipe(
    0.25,
    epochs=2,
    augmentation=Augmentation(resize=0, zoom=0, blur=0, jpeg=0.5, lowest_quality=80),
    window=48,
    image_size=64,
    weights=None,
    batch_size=8,
    dense_units=16,
    dropout=0.0,
)


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return Cache(tmp_path_factory.mktemp("cache"))


def test_every_layer_is_trained_and_the_detector_takes_whole_images(tiny, cache):
    lines = []
    sets = [tiny.select(split=split) for split in ("train", "valid")]
    trained = finetune(*sets, SMALL, cache, log=lines.append)
    start = build_from_protocol(SMALL.protocol)
    assert trained.start_digest == weights_digest(start)
    assert trained.detector.input_shape == (None, 64, 64, 3)
    pairs = zip(start.trainable_weights, trained.detector.trainable_weights, strict=True)
    for before, after in pairs:
        assert not np.array_equal(before, after), before.path
    assert len(lines) == len(trained.history) == SMALL.protocol.epochs


def test_batches_depend_on_the_seed_alone_and_change_by_epoch(tiny, cache):
    part = tiny.select(split="valid")
    pictures = load_images(part, replace(SMALL.protocol, jpeg_quality=None), cache)
    twice = [augmented_batches(pictures, part.labels, SMALL) for _ in range(2)]
    epochs = [[[x.numpy() for x, _, _ in data] for _ in range(2)] for data in twice]
    for first, again in zip(epochs[0][0], epochs[1][0], strict=True):
        np.testing.assert_array_equal(first, again)
    assert any(not np.array_equal(a, b) for a, b in zip(epochs[0][0], epochs[0][1], strict=True))
    shapes = [x.shape for x in epochs[0][0]]
    assert shapes == [(8, 48, 48, 3), (7, 48, 48, 3)]
    labels = np.concatenate([y.numpy() for _, y, _ in twice[0]])
    assert sorted(labels) == sorted(part.labels)


@pytest.mark.parametrize("window", [16, 96])
def test_a_window_that_does_not_fit_is_refused(tiny, window):
    part = tiny.select(split="valid")
    with pytest.raises(ValueError, match=f"window={window}; 32 to image_size=64 fit"):
        finetune(part, part, Recipe(SMALL.protocol, window=window), log=len)
