"""The spectral baseline finds waves, and nothing where there is nothing."""

import numpy as np
import pytest

from ddlib.traces.spectral_baseline import cross_val_scores, radial_features, rows_by_class

RINGS = (11, 12)  # of 16: 12.5 cycles in 32 pixels


def noise(rng, ring: bool):
    image = rng.normal(128, 10, (32, 32, 3))
    if ring:  # waves of one length in all directions
        y, x = np.indices((32, 32))
        for angle in np.arange(8) * np.pi / 8:
            way = x * np.cos(angle) + y * np.sin(angle)
            image += 5 * np.cos(2 * np.pi * 12.5 / 32 * way + rng.uniform(0, 7))[..., None]
    return image.clip(0, 255).astype(np.uint8)


def test_waves_stand_out_in_the_ring_of_their_frequency(rng):
    plain, marked = (radial_features([noise(rng, ring) for _ in range(5)]) for ring in (0, 1))
    assert plain.shape == (5, 16)
    gain = marked.mean(0) - plain.mean(0)
    assert gain.argmax() in RINGS


def test_held_out_images_with_waves_are_found(rng):
    labels = np.arange(60) % 2
    features = radial_features([noise(rng, label) for label in labels])
    scores = cross_val_scores(features, features, labels)
    assert ((scores > 0.5) == labels).mean() > 0.95
    swapped = rows_by_class(labels, features[1:2].repeat(60, 0), features[0:1].repeat(60, 0))
    assert ((cross_val_scores(features, swapped, labels) > 0.5) == labels).mean() < 0.05


def test_labels_without_signal_are_at_chance(rng):
    features = rng.normal(size=(200, 4))
    labels = rng.permutation(np.arange(200) % 2)
    assert 0.35 < ((cross_val_scores(features, features, labels) > 0.5) == labels).mean() < 0.65


def test_what_does_not_fit_together_is_named(rng):
    with pytest.raises(ValueError, match="no images"):
        radial_features([])
    with pytest.raises(ValueError, match="3 labels, 2 and 2 rows"):
        rows_by_class([0, 1, 0], np.zeros((2, 1)), np.zeros((2, 1)))
    with pytest.raises(ValueError, match="too few for 5 folds"):
        cross_val_scores(np.zeros((6, 1)), np.zeros((6, 1)), [0, 0, 0, 0, 0, 1])
