"""Spectra of signals whose power is known, and a regression on them that finds waves."""

import numpy as np
import pytest

from ddlib.traces.shortcuts import cross_val_scores
from ddlib.traces.spectrum import FLOOR, mean_spectrum, radial_features, radial_profile

S = 32


def cosine(cycles, amplitude=10.0, axis=1):
    """A wave whose mirror images at the edges continue it, so that nothing leaks."""
    wave = amplitude * np.cos(2 * np.pi * cycles * (np.arange(S) + 0.5) / S)
    grey = np.tile(wave, (S, 1)) if axis == 1 else np.tile(wave[:, None], (1, S))
    return np.repeat(grey[..., None], 3, axis=2) + 128


@pytest.mark.parametrize(("axis", "place"), [(1, (0, 5)), (0, (5, 0))])
def test_a_cosine_is_two_points_of_known_power(axis, place):
    spectrum = mean_spectrum([cosine(5, axis=axis)])
    # amplitude a: |F| = a S^2 / 2 at +-f, power a^2 S^2 / 4, times the squared gain of the filter
    gain = 1 - (1 + 2 * np.cos(2 * np.pi * 5 / S)) * 3 / 9
    expected = np.log10(100 * S**2 / 4 * gain**2 + FLOOR)
    middle = S // 2
    for sign in (-1, 1):
        there = (middle + sign * place[0], middle + sign * place[1])
        assert spectrum[there] == pytest.approx(expected)
        spectrum[there] = np.log10(FLOOR)
    assert spectrum == pytest.approx(np.full((S, S), np.log10(FLOOR)), abs=1e-9)


def test_profile_by_hand():
    spectrum = np.zeros((4, 4))
    spectrum[2, 2] = 100  # zero frequency is no ring
    spectrum[1, 2] = 8  # ring 1 has the 4 neighbours and the 4 diagonals (distance 1.41)
    frequencies, values = radial_profile(spectrum)
    assert frequencies.tolist() == [0.25, 0.5]
    assert values.tolist() == [1.0, 0.0]


@pytest.mark.parametrize(
    ("images", "words"),
    [
        ([], "no images"),
        ([np.zeros((4, 4, 3)), np.zeros((5, 4, 3))], r"\(5, 4\) and \(4, 4\)"),
        ([np.zeros(4)], r"got \(4,\)"),
    ],
)
def test_bad_input_is_named(images, words):
    with pytest.raises(ValueError, match=words):
        mean_spectrum(images)
    with pytest.raises(ValueError, match=r"\(4, 6\)"):
        radial_profile(np.zeros((4, 6)))


RINGS = (11, 12)  # of 16: 12.5 cycles in 32 pixels


def noise(rng, ring: bool):
    image = rng.normal(128, 10, (32, 32, 3))
    if ring:  # waves of one length in all directions
        y, x = np.indices((32, 32))
        for angle in np.arange(8) * np.pi / 8:
            way = x * np.cos(angle) + y * np.sin(angle)
            image += 5 * np.cos(2 * np.pi * 12.5 / 32 * way + rng.uniform(0, 7))[..., None]
    return image.clip(0, 255).astype(np.uint8)


def test_held_out_images_with_waves_are_found(rng):
    labels = np.arange(60) % 2
    features = radial_features([noise(rng, label) for label in labels])
    scores = cross_val_scores(features, features, labels)
    assert ((scores > 0.5) == labels).mean() > 0.95
    swapped = features[1 - labels]  # each image as the first of the other class
    assert ((cross_val_scores(features, swapped, labels) > 0.5) == labels).mean() < 0.05


def test_a_class_too_small_for_the_folds_is_named():
    with pytest.raises(ValueError, match="too few for 5 folds"):
        cross_val_scores(np.zeros((6, 1)), np.zeros((6, 1)), [0, 0, 0, 0, 0, 1])
