"""Reading every kind of image file, and errors that name the file."""

import io
import struct

import numpy as np
import pytest
from PIL import Image
from test_hostile_files import TURNED, png, saved

from ddlib.images.read import (
    ImageError,
    center_crop,
    decode_image,
    decode_with_facts,
    read_image,
    resize,
)


@pytest.fixture
def image(rng):
    """A smooth (40, 60, 3) image whose four corners differ."""
    y, x = np.mgrid[:40, :60]
    return np.stack([x * 4, y * 6, 255 - x * 2 - y * 3], -1).clip(0, 255).astype(np.uint8)


class TestReading:
    @pytest.mark.parametrize("name", ["plain.png", "with space.png", "кот ß 猫.png"])
    def test_lossless_files_come_back_exactly_whatever_their_name(self, tmp_path, image, name):
        Image.fromarray(image).save(tmp_path / name)
        read = read_image(tmp_path / name)
        assert read.dtype == np.uint8
        np.testing.assert_array_equal(read, image)

    def test_heic_under_a_jpg_name_opens(self, tmp_path, image):
        heif = pytest.importorskip("pillow_heif")
        heif.from_pillow(Image.fromarray(image)).save(tmp_path / "cat.heic", quality=95)
        (tmp_path / "cat.heic").rename(tmp_path / "cat.jpg")
        facts = decode_with_facts((tmp_path / "cat.jpg").read_bytes())[1]
        assert facts["format"] == "HEIF"
        assert np.isnan(facts["jpeg_quality"])
        read = read_image(tmp_path / "cat.jpg")
        assert read.shape == (40, 60, 3)
        assert abs(read.astype(int) - image).mean() < 8

    @pytest.mark.parametrize(
        ("mode", "colour", "format", "expected"),
        [
            ("CMYK", (0, 255, 255, 0), "TIFF", [255, 0, 0]),
            ("L", 77, "PNG", [77] * 3),
            ("1", 1, "PNG", [255] * 3),
            # transparency lies over white
            ("RGBA", (255, 0, 0, 0), "PNG", [255, 255, 255]),
            ("RGBA", (0, 0, 0, 51), "PNG", [204, 204, 204]),  # a fifth of black over white
            ("LA", (100, 255), "PNG", [100, 100, 100]),
        ],
    )
    def test_every_mode_becomes_rgb(self, mode, colour, format, expected):
        assert (decode_image(saved(Image.new(mode, (20, 20), colour), format)) == expected).all()

    def test_palettes_and_their_transparent_entry(self):
        palette = Image.new("P", (20, 20), 1)
        palette.putpalette([0, 0, 0, 10, 200, 30])
        assert (decode_image(saved(palette, "PNG")) == [10, 200, 30]).all()
        assert (decode_image(saved(palette, "GIF", transparency=1)) == 255).all()

    @pytest.mark.parametrize("values", [(128,), (25700,), (65535,), (65535, 25700, 0)])
    def test_16_bits_are_scaled_not_clipped(self, values):
        row = b"\0" + struct.pack(f">{len(values)}H", *values) * 20
        decoded = decode_image(png(20, 20, 16, 2 if len(values) == 3 else 0, row * 20))
        assert (decoded == [round(value / 257) for value in values]).all()

    def test_16_bit_grey_of_which_white_is_0_is_turned(self):
        grey = np.array([[0, 1000], [40000, 65535]], np.uint16).repeat(8, 0).repeat(8, 1)
        data = saved(Image.fromarray(grey), "TIFF", tiffinfo={262: 0})
        assert decode_image(data)[::8, ::8, 1].tolist() == [[255, 251], [99, 0]]

    @pytest.mark.parametrize(
        ("dtype", "words"), [("float32", "floating-point"), ("int32", "32-bit")]
    )
    def test_pixels_without_a_known_range_are_refused(self, dtype, words):
        data = saved(Image.fromarray(np.zeros((20, 20), dtype)), "TIFF")
        with pytest.raises(ImageError, match=rf"scan\.tif: {words} pixels have no known range"):
            decode_image(data, "scan.tif")

    @pytest.mark.parametrize("format", ["TIFF", "PNG", "WEBP"])
    @pytest.mark.parametrize("orientation", range(1, 9))
    def test_exif_rotation_is_applied(self, image, orientation, format):
        exif = Image.Exif()
        exif[0x0112] = orientation
        lossless = {"lossless": True} if format == "WEBP" else {}
        data = saved(Image.fromarray(image), format, exif=exif, **lossless)
        read, facts = decode_with_facts(data)
        np.testing.assert_array_equal(read, TURNED[orientation](image))
        assert (facts["width"], facts["height"]) == read.size

    @pytest.mark.parametrize("format", ["GIF", "WEBP", "PNG"])
    def test_of_an_animation_the_first_frame_is_taken(self, format):
        first, second = (Image.new("RGB", (20, 20), colour) for colour in ("red", "blue"))
        options = {"lossless": True} if format == "WEBP" else {}
        data = saved(first, format, save_all=True, append_images=[second], **options)
        assert (decode_image(data) == [255, 0, 0]).all()


class TestRefusing:
    def test_truncated_heic(self, image):
        heif = pytest.importorskip("pillow_heif")
        buffer = io.BytesIO()
        heif.from_pillow(Image.fromarray(image)).save(buffer)
        with pytest.raises(ImageError, match=r"x\.heic"):
            decode_image(buffer.getvalue()[:-60], "x.heic")

    @pytest.mark.parametrize("side", [9_000, 12_000, 60_000])
    @pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
    def test_decompression_bombs_are_refused_by_their_header(self, side):
        with pytest.raises(ImageError, match=r"bomb\.png.*too large"):
            decode_image(png(side, side, 8, 2, b"\0"), "bomb.png")


class TestPixels:
    def test_nearest_takes_the_pixels_that_keras_s_loader_takes(self, rng):
        large = rng.integers(0, 256, (512, 768, 3), dtype=np.uint8)
        rows, columns = (np.arange(4) + 0.5) * 128, (np.arange(4) + 0.5) * 192
        expected = large[rows.astype(int)][:, columns.astype(int)]
        np.testing.assert_array_equal(resize(large, 4, "nearest"), expected)

    def test_antialias_averages_what_nearest_aliases(self):
        stripes = np.zeros((64, 64, 3), np.uint8)
        stripes[:, ::2] = 255
        assert len(np.unique(resize(stripes, 16, "nearest"))) == 1
        inner = resize(stripes, 16)[:, 2:-2]
        assert abs(inner.astype(int) - 127.5).max() < 3

    def test_unknown_method_and_wrong_arrays(self, image):
        with pytest.raises(ValueError, match="'cubic'.*antialias, nearest"):
            resize(image, 8, "cubic")
        with pytest.raises(ValueError, match="size=100000 is out of range"):
            resize(np.zeros((4, 4, 3), np.uint8), 100_000)
        with pytest.raises(ValueError, match=r"\(40, 60\) uint8"):
            resize(image[..., 0], 8)
        with pytest.raises(ValueError, match="float32"):
            center_crop(image.astype(np.float32))

    def test_center_crop(self):
        numbered = np.repeat(np.arange(60, dtype=np.uint8)[None, :, None], 40, 0).repeat(3, 2)
        assert center_crop(numbered)[0, :, 0].tolist() == list(range(10, 50))
        assert center_crop(numbered, 0.5)[0, :, 0].tolist() == list(range(20, 40))
        with pytest.raises(ValueError, match="share=1.5"):
            center_crop(numbered, 1.5)
