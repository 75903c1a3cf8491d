"""Training every layer on augmented windows."""

from dataclasses import replace

import numpy as np
import pytest

from ddlib.data.loader import load_images
from ddlib.models.finetuning import Recipe, augmented_batches, finetune


def test_batches_depend_on_the_seed_alone_and_change_by_epoch(tiny, cache, small_recipe):
    part = tiny.select(split="valid")
    pictures = load_images(part, replace(small_recipe.protocol, jpeg_quality=None), cache)
    twice = [augmented_batches(pictures, part.labels, small_recipe) for _ in range(2)]
    epochs = [[[x.numpy() for x, _, _ in data] for _ in range(2)] for data in twice]
    for first, again in zip(epochs[0][0], epochs[1][0], strict=True):
        np.testing.assert_array_equal(first, again)
    assert any(not np.array_equal(a, b) for a, b in zip(epochs[0][0], epochs[0][1], strict=True))
    shapes = [x.shape for x in epochs[0][0]]
    assert shapes == [(8, 48, 48, 3), (7, 48, 48, 3)]
    labels = np.concatenate([y.numpy() for _, y, _ in twice[0]])
    assert sorted(labels) == sorted(part.labels)


@pytest.mark.parametrize("window", [16, 96])
def test_a_window_that_does_not_fit_is_refused(tiny, window, small_recipe, cache, tmp_path):
    part, recipe = tiny.select(split="valid"), Recipe(small_recipe.protocol, window=window)
    with pytest.raises(ValueError, match=f"window={window}; 32 to image_size=64 fit"):
        finetune(part, part, recipe, cache, len, tmp_path)


def test_an_interrupted_training_ends_as_one_that_nothing_interrupted(
    tiny, cache, small_recipe, short_mobilenet, tmp_path
):
    parts = tiny.select(split="train"), tiny.select(split="valid")
    recipe = replace(small_recipe, protocol=replace(small_recipe.protocol, epochs=4, dropout=0.3))
    whole = finetune(*parts, recipe, cache, len, tmp_path / "whole")
    lines = []

    def stop_after(epochs):
        def log(line):
            lines.append(line)
            if len(lines) == epochs:
                raise KeyboardInterrupt

        return log

    for epochs in (1, 3):  # within the first epoch, whose end is not kept, and within a later one
        with pytest.raises(KeyboardInterrupt):
            finetune(*parts, recipe, cache, stop_after(epochs), tmp_path)
    resumed = finetune(*parts, recipe, cache, lines.append, tmp_path)

    assert any("goes on after epoch 1" in line for line in lines)
    names = ["loss", "accuracy", "val_loss", "val_accuracy"]
    np.testing.assert_allclose(resumed.history[names], whole.history[names], rtol=1e-5)
    for a, b in zip(whole.detector.get_weights(), resumed.detector.get_weights(), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-5)
    again = finetune(*parts, recipe, cache, lines.append, tmp_path)  # killed before it was released
    assert len(again.history) == 4 and again.best_epoch == whole.best_epoch
    other = replace(recipe, window=40)  # what is kept is of one recipe
    assert len(finetune(*parts, other, cache, len, tmp_path).history) == 4
