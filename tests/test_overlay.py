"""Heat maps: resized like TensorFlow's, scaled, averaged, and laid over images."""

import numpy as np
import pytest
from PIL import Image

from ddlib.images.overlay import mean_map, normalise, overlay, upsample


@pytest.mark.parametrize(
    ("old", "new"), [((7, 9), (30, 41)), ((64, 32), (17, 30)), ((1, 3), (5, 5))]
)
def test_upsampling_gives_the_numbers_of_tensorflow(rng, old, new):
    tf = pytest.importorskip("tensorflow")
    heat = rng.random((3, *old), np.float32)
    expected = tf.image.resize(heat[..., None], new, "bilinear").numpy()[..., 0]
    np.testing.assert_allclose(upsample(heat, new), expected, atol=1e-5)
    np.testing.assert_allclose(upsample(heat[1], new), expected[1], atol=1e-5)
    np.testing.assert_array_equal(upsample(heat, old), heat)


def test_normalise_divides_by_each_maximum_and_never_by_zero():
    heat, positive = normalise(np.array([[[0.0, 4.0]], [[0.0, 0.0]], [[0.5, 0.25]]]))
    np.testing.assert_array_equal(heat, [[[0, 1]], [[0, 0]], [[1, 0.5]]])
    assert positive.tolist() == [True, False, True]


def test_mean_map_is_the_mean_of_the_resized_maps(rng):
    heats = [rng.random((2, side, side), np.float32) for side in (4, 8, 4, 16)]
    expected = np.mean([upsample(heat, 16) for heat in heats], axis=0)
    np.testing.assert_allclose(mean_map(heats, 16), expected, atol=1e-6)


def test_overlay_mixes_image_and_colour():
    image = np.full((2, 2, 3), 100, np.uint8)
    heat = np.array([[0, 1], [1, 1]])
    np.testing.assert_array_equal(overlay(image, heat, opacity=0), image)
    grey = overlay(image, heat, opacity=1, colormap="gray")
    np.testing.assert_array_equal(grey[..., 0], [[0, 255], [255, 255]])
    half = overlay(image, heat, opacity=0.5, colormap="gray")
    np.testing.assert_array_equal(half[..., 1], [[50, 178], [178, 178]])  # 177.5 rounds to even
    assert overlay(np.zeros((6, 4, 3), np.uint8), heat).shape == (6, 4, 3)


def test_overlay_of_an_empty_map_is_a_copy_of_the_image():
    image = np.arange(48, dtype=np.uint8).reshape(4, 4, 3)
    result = overlay(image, np.zeros((2, 2)), 0.9, "jet")
    np.testing.assert_array_equal(result, image)
    assert not np.shares_memory(result, image)


def test_floats_of_0_to_255_and_pil_images_are_accepted(rng):
    image = rng.integers(0, 256, (4, 4, 3), dtype=np.uint8)
    expected = overlay(image, np.eye(2))
    np.testing.assert_array_equal(overlay(image.astype(np.float32), np.eye(2)), expected)
    np.testing.assert_array_equal(overlay(Image.fromarray(image), np.eye(2)), expected)
    assert not overlay(np.zeros((4, 4, 3), np.float32), np.zeros((2, 2))).any()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"colormap": "no-such-map"}, "no-such-map.*jet"),
        ({"opacity": 1.5}, r"opacity=1\.5.*0 to 1"),
        ({"heat": np.zeros((1, 2, 2))}, r"\(1, 2, 2\).*maps\.heat\[0\]"),
        ({"heat": np.full((2, 2), 3.5)}, "3.5.*normalise"),
        ({"heat": np.full((2, 2), np.nan)}, "nan"),
        ({"image": np.zeros((1, 4, 4, 3), np.uint8)}, r"\(1, 4, 4, 3\)"),
        ({"image": np.full((4, 4, 3), 0.5)}, "float64.*multiply them by 255"),
        ({"image": np.full((4, 4, 3), 1.02)}, "float64.*multiply them by 255"),
        ({"image": np.full((4, 4, 3), 99, np.uint16)}, "uint16.*divide them by 257"),
    ],
)
def test_overlay_says_what_is_wrong(change, message):
    call = {"image": np.zeros((4, 4, 3), np.uint8), "heat": np.ones((2, 2))} | change
    with pytest.raises(ValueError, match=message):
        overlay(**call)
