"""JPEG in memory: Pillow is the independent twin of the fast codec."""

import io

import numpy as np
import pytest
from PIL import Image, JpegImagePlugin

from ddlib.images import jpeg
from ddlib.images.jpeg import SUBSAMPLINGS, decode_colour, encode_jpeg, jpeg_quality, recompress
from ddlib.images.read import ImageError, decode_image


@pytest.fixture
def image(rng):
    """A (40, 58, 3) picture with slopes, an edge and noise; 58 is no multiple of 8."""
    y, x = np.mgrid[:40, :58]
    slopes = np.stack([x * 4, y * 6, 255 - x * 2 - y * 3], -1) + 60 * (x > 30)[..., None]
    return (slopes + rng.normal(0, 12, slopes.shape)).clip(0, 255).astype(np.uint8)


def by_pillow(image, **options):
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "JPEG", **options)
    return buffer.getvalue()


@pytest.fixture(params=["as installed", "without OpenCV"])
def codec(request, monkeypatch):
    if request.param == "without OpenCV":
        monkeypatch.setattr(jpeg, "_opencv", lambda: None)


@pytest.mark.parametrize("subsampling", SUBSAMPLINGS)
@pytest.mark.parametrize("quality", [1, 30, 75, 90, 100])
def test_bytes_and_pixels_are_pillows(codec, image, quality, subsampling):
    data = by_pillow(image, quality=quality, subsampling=subsampling)
    assert encode_jpeg(image, quality, subsampling) == data
    decoded = decode_colour(data)
    if decoded is not None:
        np.testing.assert_array_equal(decoded, np.array(Image.open(io.BytesIO(data))))


def test_views_that_are_not_contiguous_are_encoded_as_they_look(codec, image):
    turned = image[::-1, ::-1]
    assert encode_jpeg(turned, 80) == by_pillow(turned.copy(), quality=80)


def test_recompress_is_what_a_file_on_disk_holds(codec, tmp_path, image):
    Image.fromarray(image).save(tmp_path / "a.jpg", quality=75)
    np.testing.assert_array_equal(recompress(image, 75), np.array(Image.open(tmp_path / "a.jpg")))


def test_progressive_and_adobe_rgb_files_are_read_alike(codec, image):
    for options in ({"progressive": True}, {"keep_rgb": True}, {"optimize": True}):
        data = by_pillow(image, quality=85, **options)
        expected = np.array(Image.open(io.BytesIO(data)))
        np.testing.assert_array_equal(decode_image(data), expected)


def test_a_file_cut_short_is_refused_and_not_filled_up(codec, image):
    data = by_pillow(image, quality=90)
    for kept in (len(data) - 1, len(data) - 2, len(data) // 2):
        assert decode_colour(data[:kept]) is None
    with pytest.raises(ImageError, match="cut short"):
        decode_image(data[: len(data) // 2])


def test_what_is_asked_is_checked(codec, image):
    for sampling, expected in {"4:4:4": 0, "4:2:2": 1, "4:2:0": 2}.items():
        data = encode_jpeg(image, 90, sampling)
        assert JpegImagePlugin.get_sampling(Image.open(io.BytesIO(data))) == expected
    with pytest.raises(ValueError, match="quality=0"):
        encode_jpeg(image, 0)
    with pytest.raises(ValueError, match=r"subsampling='4:1:1'.*4:2:2"):
        encode_jpeg(image, 90, "4:1:1")
    with pytest.raises(ValueError, match="float64"):
        encode_jpeg(image / 255, 90)


def test_another_table_gets_the_nearest_quality(image):
    table = np.array(Image.open(io.BytesIO(by_pillow(image, quality=60))).quantization[0])
    table[0] += 1
    assert jpeg_quality(table) == 60
