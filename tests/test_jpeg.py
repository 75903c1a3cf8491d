"""JPEG in memory: encoded as asked, checked, and its quality recognised."""

import io

import numpy as np
import pytest
from PIL import Image, JpegImagePlugin

from ddlib.images.jpeg import encode_jpeg, jpeg_quality, recompress


@pytest.fixture
def image(rng):
    """A (40, 58, 3) image with slopes, an edge and noise; 58 is no multiple of 8."""
    y, x = np.mgrid[:40, :58]
    slopes = np.stack([x * 4, y * 6, 255 - x * 2 - y * 3], -1) + 60 * (x > 30)[..., None]
    return (slopes + rng.normal(0, 12, slopes.shape)).clip(0, 255).astype(np.uint8)


def opened(data):
    return Image.open(io.BytesIO(data))


def test_views_that_are_not_contiguous_are_encoded_as_they_look(image):
    turned = image[::-1, ::-1]
    assert encode_jpeg(turned, 80) == encode_jpeg(turned.copy(), 80)


def test_recompress_is_what_a_file_on_disk_holds(tmp_path, image):
    Image.fromarray(image).save(tmp_path / "a.jpg", quality=75)
    np.testing.assert_array_equal(recompress(image, 75), np.array(Image.open(tmp_path / "a.jpg")))


@pytest.mark.parametrize(("subsampling", "code"), [("4:4:4", 0), ("4:2:2", 1), ("4:2:0", 2)])
def test_the_subsampling_is_the_one_asked_for(image, subsampling, code):
    assert JpegImagePlugin.get_sampling(opened(encode_jpeg(image, 90, subsampling))) == code


@pytest.mark.parametrize("quality", [0, 101, 90.5])
def test_a_quality_that_does_not_exist_is_refused(image, quality):
    with pytest.raises(ValueError, match=f"quality={quality}"):
        encode_jpeg(image, quality)


def test_other_wrong_arguments_are_refused(image):
    with pytest.raises(ValueError, match=r"subsampling='4:1:1'.*4:2:2"):
        encode_jpeg(image, 90, "4:1:1")
    with pytest.raises(ValueError, match="float64"):
        encode_jpeg(image / 255, 90)
    with pytest.raises(ValueError, match=r"\(0, 58, 3\)"):
        encode_jpeg(image[:0], 90)


def test_every_standard_quality_is_recognised(image):
    for quality in range(1, 101):
        assert jpeg_quality(opened(encode_jpeg(image, quality)).quantization[0]) == quality


def test_another_table_gets_the_nearest_quality(image):
    table = np.array(opened(encode_jpeg(image, 60)).quantization[0])
    table[0] += 1
    assert jpeg_quality(table) == 60
