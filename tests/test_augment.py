"""Augmentation: repeatable, within its bounds, and nothing happens that was not asked."""

import numpy as np
import pytest

from ddlib.images.jpeg import recompress
from ddlib.images.perturb import Augmentation, augment, random_window

NOTHING = Augmentation(resize=0, zoom=0, blur=0, jpeg=0)


@pytest.fixture
def image(rng):
    return rng.integers(0, 256, (48, 48, 3), dtype=np.uint8)


def test_nothing_asked_nothing_done(image):
    np.testing.assert_array_equal(augment(image, NOTHING, np.random.default_rng(0)), image)


def test_a_seed_decides_everything_and_the_picture_given_stays(image):
    before = image.copy()
    one, two, other = (augment(image, Augmentation(), np.random.default_rng(s)) for s in (5, 5, 6))
    np.testing.assert_array_equal(one, two)
    assert not np.array_equal(one, other)
    np.testing.assert_array_equal(image, before)
    assert one.shape == image.shape and one.dtype == np.uint8


def test_jpeg_alone_is_one_save_of_an_allowed_quality(image):
    plan = Augmentation(resize=0, zoom=0, blur=0, jpeg=1, lowest_quality=40, highest_quality=42)
    allowed = [recompress(image, quality) for quality in (40, 41, 42)]
    met = set()
    for seed in range(30):
        changed = augment(image, plan, np.random.default_rng(seed))
        met |= {i for i, saved in enumerate(allowed) if np.array_equal(saved, changed)}
    assert met == {0, 1, 2}


@pytest.mark.parametrize("change", ["resize", "blur"])
def test_detail_is_lost_and_the_mean_is_kept(image, change):
    plan = Augmentation(**{**NOTHING.to_dict(), change: 1})
    changed = augment(image, plan, np.random.default_rng(3)).astype(float)
    assert changed.std() < image.std()
    assert changed.mean() == pytest.approx(image.mean(), abs=3)


def test_zoom_shows_a_part_at_the_whole_size():
    ramp = np.repeat(np.linspace(0, 255, 64).astype(np.uint8)[None, :, None], 64, 0).repeat(3, 2)
    plan = Augmentation(resize=0, zoom=1, blur=0, jpeg=0, least_kept=0.5)
    for seed in range(10):
        row = augment(ramp, plan, np.random.default_rng(seed))[0, :, 0].astype(int)
        kept = (row[-1] - row[0]) / 255
        assert 0.4 < kept <= 1
        assert (np.diff(row) >= 0).all()


def test_shares_are_kept(image):
    plan = Augmentation(resize=0, zoom=0, blur=0, jpeg=0.5)
    rng = np.random.default_rng(0)
    same = [np.array_equal(augment(image, plan, rng), image) for _ in range(400)]
    assert 160 < sum(same) < 240  # 200 expected, standard deviation 10


def test_windows_lie_inside_come_from_everywhere_and_are_mirrored_half_the_time():
    numbered = np.arange(16, dtype=np.uint8).reshape(4, 4)[..., None].repeat(3, 2)
    rng = np.random.default_rng(0)
    windows = [random_window(numbered, 3, rng)[..., 0] for _ in range(200)]
    corners = {tuple(window[0, [0, -1]]) for window in windows}
    straight = {(0, 2), (1, 3), (4, 6), (5, 7)}
    assert corners == straight | {(b, a) for a, b in straight}
    mirrored = sum(window[0, 0] > window[0, -1] for window in windows)
    assert 70 < mirrored < 130


def test_a_whole_window_is_the_picture_or_its_mirror_image(image):
    rng = np.random.default_rng(1)
    for _ in range(4):
        window = random_window(image, 48, rng)
        assert np.array_equal(window, image) or np.array_equal(window[:, ::-1], image)
