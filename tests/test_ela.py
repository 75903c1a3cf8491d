"""Error Level Analysis: by its definition, on known histories, and the study's overflow."""

import numpy as np
import pytest
from PIL import Image

from ddlib.ela import ela_difference, ela_map, uint8_overflow
from ddlib.images.jpeg import recompress
from ddlib.traces.jpeg_history import fixed_point


def textured(rng, size=128):
    """A never-compressed picture: smooth colour with noise of a few grey levels on it."""
    coarse = rng.integers(60, 190, size=(8, 8, 3), dtype=np.uint8)
    smooth = np.asarray(Image.fromarray(coarse).resize((size, size), Image.Resampling.BICUBIC))
    return np.clip(smooth + rng.normal(0, 8, smooth.shape), 0, 255).astype(np.uint8)


def test_map_by_the_definition(rng):
    image = textured(rng)
    before = image.copy()
    difference = np.abs(image.astype(int) - recompress(image, 90).astype(int))
    assert np.array_equal(ela_difference(image), difference)
    assert np.abs(ela_map(image) - difference * 255 / difference.max()).max() <= 0.5
    assert ela_map(image).max() == 255
    assert np.array_equal(ela_map(image, scale=None), difference)
    assert np.array_equal(ela_map(image, scale=20), np.minimum(difference * 20, 255))
    assert np.array_equal(ela_map(Image.fromarray(image)), ela_map(image))
    assert np.array_equal(image, before)


@pytest.mark.parametrize("quality", [75, 90])
def test_a_picture_at_its_fixed_point_is_dark(rng, quality):
    fixed = fixed_point(textured(rng, 64), quality)[0]
    assert not ela_map(fixed, quality).any()
    assert ela_map(fixed, quality - 10).any()  # dark at its own quality only


@pytest.mark.parametrize("corner", [32, 37])  # on the 8 x 8 grid of blocks, and off it
def test_a_spliced_patch_of_another_history_lights_up(rng, corner):
    host = fixed_point(textured(rng))[0]
    host[corner : corner + 48, corner : corner + 48] = textured(rng)[:48, :48]  # never compressed
    inside, near = np.zeros((2, 128, 128), bool)
    inside[corner : corner + 48, corner : corner + 48] = True
    # blocks that the patch cuts through belong to neither
    near[corner - 16 : corner + 64, corner - 16 : corner + 64] = True
    result = ela_map(host).mean(axis=2)
    assert result[inside].mean() > 10 * result[~near].mean()


def test_the_overflow_of_the_study_is_the_negative_modulo_256():
    every = np.arange(256, dtype=np.uint8)
    assert np.array_equal(uint8_overflow(every), (every.astype(int) * 255) % 256)
    assert uint8_overflow(every).tolist() == [0, *range(255, 0, -1)]


def test_wrong_images_and_settings_are_named():
    image = np.zeros((8, 8, 3), np.uint8)
    for wrong in (image[..., 0], image.astype(np.float32), image[:0], Image.new("L", (8, 8)), []):
        with pytest.raises(ValueError, match=r"an image is \(H, W, 3\) uint8") as error:
            ela_map(wrong)
        assert str(np.asarray(wrong).shape) in str(error.value)
    for quality in (0, 101, "90", 90.5, None):
        with pytest.raises(ValueError, match=f"quality={quality!r}.*1 to 100"):
            ela_map(image, quality)
    for scale in ("min", 0, -1.0, float("nan"), float("inf")):
        with pytest.raises(ValueError, match=f"scale={scale!r}"):
            ela_map(image, scale=scale)
