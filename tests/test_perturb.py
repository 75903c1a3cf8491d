"""Perturbations and random augmentation that do what they say, and nothing else."""

from dataclasses import replace

import numpy as np
import pytest

from ddlib.images.jpeg import recompress
from ddlib.images.perturb import (
    DEFAULT_PERTURBATIONS,
    PERTURBATIONS,
    Augmentation,
    augment,
    perturb,
    random_window,
)

GREY = np.full((200, 200, 3), 128, np.uint8)
NOTHING = Augmentation(resize=0, zoom=0, blur=0, jpeg=0)


@pytest.fixture
def image(rng):
    return rng.integers(0, 256, (48, 64, 3), np.uint8)


@pytest.fixture
def square(image):
    return image[:, :48]


def seeded(seed):
    return np.random.default_rng(seed)


def test_jpeg_and_crop_by_their_definitions(image):
    np.testing.assert_array_equal(perturb(image, "jpeg", 30), recompress(image, 30))
    np.testing.assert_array_equal(perturb(image, "crop", 0.5), image[12:36, 16:48])
    for kind, mildest in (("resize", 1), ("crop", 1), ("noise", 0)):
        np.testing.assert_array_equal(perturb(image, kind, mildest), image)


def test_resize_keeps_size_and_slopes_and_wipes_out_a_fine_grid():
    slope = np.tile(np.arange(64, dtype=np.uint8)[None, :, None] * 2, (48, 1, 3))
    back = perturb(slope, "resize", 0.5)
    assert back.shape == slope.shape
    inner = np.s_[4:-4, 4:-4]
    assert np.abs(back[inner].astype(int) - slope[inner]).max() <= 1
    grid = GREY.copy()
    grid[:, ::2] = 100
    assert perturb(grid, "resize", 0.25)[inner].std() < 1 < grid.std()


@pytest.mark.parametrize("sigma", [1, 2])
def test_blur_spreads_an_edge_by_its_sigma(sigma):
    edge = np.zeros((20, 60, 3), np.uint8)
    edge[:, 30:] = 250
    profile = perturb(edge, "blur", sigma)[10, :, 0].astype(float)
    spread = np.diff(profile) / 250  # of a point: what the slope of a blurred edge is
    place = np.arange(len(spread))
    assert spread.sum() == pytest.approx(1)
    variance = ((place - (spread * place).sum()) ** 2 * spread).sum()
    assert variance == pytest.approx(sigma**2, rel=0.1)


@pytest.mark.parametrize("sigma", [2, 10])
def test_noise_has_the_sigma_that_was_asked_for_and_is_that_of_its_seed(sigma):
    noise = perturb(GREY, "noise", sigma).astype(float) - 128
    # 120,000 values: the standard error of sigma is 0.2 %; rounding adds 1/12 to the variance
    assert noise.std() == pytest.approx((sigma**2 + 1 / 12) ** 0.5, rel=0.01)
    assert abs(noise.mean()) < 4 * sigma / len(noise.ravel()) ** 0.5
    assert np.abs(perturb(GREY, "noise", 2 * sigma) - 128.0 - 2 * noise).max() <= 1.5  # rounding
    assert (perturb(GREY, "noise", sigma, 2) - 128.0 != noise).mean() > 0.5


def test_every_kind_changes_a_copy_and_runs_from_mild_to_harsh(image):
    before = image.copy()
    for kind, strength in DEFAULT_PERTURBATIONS:
        assert not np.array_equal(perturb(image, kind, strength), image)
    np.testing.assert_array_equal(image, before)
    smooth = perturb(image, "blur", 1).astype(int)
    for name in PERTURBATIONS.keys() - {"crop"}:  # which changes the size and not the pixels
        forms = [perturb(smooth.astype(np.uint8), *c) for c in DEFAULT_PERTURBATIONS if name in c]
        change = [np.abs(form - smooth).mean() for form in forms]
        assert change == sorted(change), name


@pytest.mark.parametrize(
    ("kind", "strength", "message"),
    [
        ("smear", 1, r"'smear' is not known; choose from jpeg, blur, resize, crop, noise"),
        ("jpeg", 0, r"jpeg 0 is out of range; give 1 to 100"),
        ("resize", 1.5, r"resize 1.5 is out of range; give 0.01 to 1"),
        ("noise", float("nan"), r"noise nan is out of range"),
    ],
)
def test_wrong_arguments_are_refused(image, kind, strength, message):
    with pytest.raises(ValueError, match=message):
        perturb(image, kind, strength)
    with pytest.raises(ValueError, match="float64"):
        perturb(image / 255, "blur", 1)


def test_a_seed_decides_everything_and_the_given_image_stays(square):
    before = square.copy()
    one, two, other = (augment(square, Augmentation(), seeded(s)) for s in (5, 5, 6))
    np.testing.assert_array_equal(one, two)
    assert not np.array_equal(one, other)
    np.testing.assert_array_equal(square, before)
    assert one.shape == square.shape and one.dtype == np.uint8
    plan = replace(NOTHING, jpeg=1, lowest_quality=40, highest_quality=40)
    np.testing.assert_array_equal(augment(square, plan, seeded(0)), recompress(square, 40))
    np.testing.assert_array_equal(augment(square, NOTHING, seeded(0)), square)


def test_windows_come_from_everywhere_and_are_mirrored_half_the_time(rng):
    numbered = np.arange(16, dtype=np.uint8).reshape(4, 4)[..., None].repeat(3, 2)
    windows = [random_window(numbered, 3, rng)[..., 0] for _ in range(200)]
    corners = {tuple(window[0, [0, -1]]) for window in windows}
    straight = {(0, 2), (1, 3), (4, 6), (5, 7)}
    assert corners == straight | {(b, a) for a, b in straight}
    assert 70 < sum(window[0, 0] > window[0, -1] for window in windows) < 130
