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


def test_recompress_is_what_a_file_on_disk_holds(tmp_path, image):
    Image.fromarray(image).save(tmp_path / "a.jpg", quality=75)
    np.testing.assert_array_equal(recompress(image, 75), np.array(Image.open(tmp_path / "a.jpg")))
    assert JpegImagePlugin.get_sampling(opened(encode_jpeg(image, 100))) == 2  # 4:2:0


def test_quality_50_is_the_table_of_the_standard(image):
    # ITU-T T.81, table K.1, its first row
    table = opened(encode_jpeg(image, 50)).quantization[0]
    assert list(table[:8]) == [16, 11, 10, 16, 24, 40, 51, 61] and jpeg_quality(table) == 50


def test_every_standard_quality_is_recognised_and_other_tables_get_the_nearest(image):
    for quality in range(1, 101):
        table = np.array(opened(encode_jpeg(image, quality)).quantization[0])
        assert jpeg_quality(table) == quality
        if quality == 60:
            assert jpeg_quality(table + (np.arange(64) == 0)) == 60
