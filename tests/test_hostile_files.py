"""Files that are damaged, strange or no pictures: an error that names them, or their pixels."""

import io
import os
import random
import struct
import subprocess
import sys
import threading
import zlib

import numpy as np
import pytest
from PIL import Image, ImageFile

from ddlib._utils import ordered_parallel_map
from ddlib.images import read
from ddlib.images.integrity import MAX_SCANS
from ddlib.images.read import ImageError, decode_image, decode_with_facts, read_image


def scene(seed, height=70, width=90):
    """Slopes, an edge and noise; the corners differ, so that a turn shows."""
    y, x = np.mgrid[:height, :width]
    slopes = np.stack([x * 2, y * 3, 255 - x - y], -1) + 60 * (x > 30)[..., None]
    noise = np.random.default_rng(seed).normal(0, 8, slopes.shape)
    return Image.fromarray((slopes + noise).clip(0, 255).astype(np.uint8))


def saved(picture, format, **options):
    buffer = io.BytesIO()
    picture.save(buffer, format, **options)
    return buffer.getvalue()


def chunk(name, data):
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def png(width, height, bits, colour, rows):
    """Build a PNG from raw rows, for modes that Pillow cannot write or sizes nobody would."""
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, 0))
    pixels = chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + header + pixels


def with_chunk(png, name, data, place=33):
    """Insert a chunk; by default after the header."""
    return png[:place] + chunk(name, data) + png[place:]


SAMPLES = {
    "baseline": lambda: saved(scene(1), "JPEG", quality=90),
    "progressive": lambda: saved(scene(1), "JPEG", progressive=True),
    "restarts": lambda: saved(scene(1), "JPEG", restart_marker_blocks=3),
    "cmyk": lambda: saved(scene(1).convert("CMYK"), "JPEG"),
    "png": lambda: saved(scene(1), "PNG"),
    "palette": lambda: saved(scene(1).quantize(60), "PNG", transparency=3),
    "grey16": lambda: saved(
        Image.fromarray(np.arange(6300, dtype=np.uint16).reshape(70, 90)), "PNG"
    ),
    "webp": lambda: saved(scene(1), "WEBP"),
    "lossless": lambda: saved(scene(1).convert("RGBA"), "WEBP", lossless=True),
    "tiff": lambda: saved(scene(1), "TIFF"),
    "lzw": lambda: saved(scene(1), "TIFF", compression="tiff_lzw"),
    "tiff-jpeg": lambda: saved(scene(1), "TIFF", compression="jpeg"),
    "gif": lambda: saved(scene(1), "GIF"),
    "bmp": lambda: saved(scene(1), "BMP"),
}


def mutated(data, rng):
    """Flip, cut, insert, zero or repeat some bytes."""
    data, at = bytearray(data), rng.randrange(len(data))
    length = rng.randrange(1, len(data) // 4)
    kind = rng.choice(["flip", "header", "cut", "insert", "zero", "repeat", "swap"])
    if kind == "flip":
        for _ in range(rng.randrange(1, 9)):
            data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    elif kind == "header":
        data[rng.randrange(min(200, len(data)))] = rng.randrange(256)
    elif kind == "cut":
        del data[at:]
    elif kind == "insert":
        data[at:at] = rng.randbytes(length)
    elif kind == "zero":
        data[at : at + length] = bytes(len(data[at : at + length]))
    elif kind == "repeat":
        data[at:at] = data[at : at + length]
    else:
        del data[at : at + length]
    return bytes(data)


def outcome(path):
    """Return the pixels or the error of a file; anything else fails the test."""
    try:
        image = read_image(path)
    except ImageError as error:
        assert str(path) in str(error)
        return str(error)
    assert image.dtype == np.uint8 and image.ndim == 3 and image.shape[2] == 3 and image.size
    facts = decode_with_facts(path.read_bytes())[1]
    assert (facts["height"], facts["width"]) == image.shape[:2]
    return image.shape, image.tobytes()


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("sample", SAMPLES)
def test_a_mutated_file_is_an_error_that_names_it_or_the_same_pixels_each_time(tmp_path, sample):
    rng, data = random.Random(sample), SAMPLES[sample]()
    files = [tmp_path / f"{i}.jpg" for i in range(30)]
    for file in files:
        file.write_bytes(mutated(data, rng))
    first = [outcome(file) for file in files]
    read_image_of_every_kind(tmp_path / "other")
    again = [outcome(file) for file in reversed(files)][::-1]
    assert first == again
    assert sum(isinstance(result, str) for result in first) >= 7


def read_image_of_every_kind(file):
    for make in SAMPLES.values():
        file.write_bytes(make())
        read_image(file)
    heif = pytest.importorskip("pillow_heif")
    heif.from_pillow(scene(1)).save(file.with_suffix(".heic"))
    read_image(file.with_suffix(".heic"))


def drawn_jpeg(rng):
    """Return a sound JPEG of a random kind and where its entropy-coded data begin."""
    picture = scene(rng.randrange(99), rng.randrange(60, 200), rng.randrange(60, 200))
    if rng.random() < 0.3:
        picture = picture.convert("L")
    options = {"quality": rng.randrange(50, 100), "optimize": rng.random() < 0.5}
    if picture.mode == "RGB":
        options["subsampling"] = rng.randrange(3)
    if rng.random() < 0.4:
        options[f"restart_marker_{rng.choice(['rows', 'blocks'])}"] = rng.randrange(1, 9)
    progressive = rng.random() < 0.5
    data = saved(picture, "JPEG", progressive=progressive, **options)
    return data, data.index(b"\xff\xda") + 14, progressive


@pytest.mark.parametrize("seed", range(40))
def test_a_damaged_jpeg_with_its_end_marker_is_set_aside_and_a_sound_one_is_not(seed):
    rng = random.Random(seed)
    data, start, progressive = drawn_jpeg(rng)
    sound = np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))
    np.testing.assert_array_equal(decode_image(data), sound)
    np.testing.assert_array_equal(decode_image(data + b"trailing bytes"), sound)
    at = rng.randrange(start, len(data) - 40)
    damaged = {"half missing": data[:at] + b"\xff\xd9", "half plus another": data[:at] + data}
    if not progressive:  # of a progressive one, the few bits of later scans may still fit
        length = min(len(data) - 2 - at, rng.randrange(64, 400))
        at = min(at, len(data) - 2 - 64)
        damaged["zeros"] = data[:at] + bytes(max(length, 64)) + data[at + max(length, 64) :]
    for kind, content in damaged.items():
        with pytest.raises(ImageError, match=r"face\.jpg: .*damaged or cut short"):
            decode_image(content, "face.jpg")
            pytest.fail(f"{kind}, cut at {at} of {len(data)}")


def test_a_jpeg_of_thousands_of_scans_is_refused():
    data = saved(scene(1), "JPEG", progressive=True)
    last = data.rindex(b"\xff\xda")
    many = data[:-2] + data[last:-2] * 2000 + data[-2:]
    with pytest.raises(ImageError, match=rf"slow\.jpg: .*more than {MAX_SCANS} scans"):
        decode_image(many, "slow.jpg")


TURNED = {
    1: lambda image: image,
    2: lambda image: image[:, ::-1],
    3: lambda image: image[::-1, ::-1],
    4: lambda image: image[::-1],
    5: lambda image: image.transpose(1, 0, 2),
    6: lambda image: np.rot90(image, -1),
    7: lambda image: np.rot90(image, 2).transpose(1, 0, 2),
    8: lambda image: np.rot90(image),
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    ("format", "options"), [("JPEG", {}), ("PNG", {}), ("WEBP", {"lossless": True})]
)
def test_exif_turns_a_picture_or_is_ignored(format, options):
    rng = random.Random(format)
    plain = decode_image(saved(scene(1), format, **options))
    exif = Image.Exif()
    exif.update({0x0112: 6, 0x010F: "maker", 0x011A: 72.0, 0x0132: "2020:01:01 00:00:00"})
    exif.get_ifd(0x8769)[0x9003] = "2020:01:01 00:00:00"
    good, met = exif.tobytes(), set()
    for i in range(60):
        garbage = bytearray(good)
        for _ in range(i % 9):
            garbage[rng.randrange(6, len(garbage))] = rng.randrange(256)
        if i % 5 == 1:
            garbage = bytearray(b"Exif\0\0" + rng.randbytes(rng.randrange(60)))
        image = decode_image(saved(scene(1), format, exif=bytes(garbage), **options))
        alike = {turn for turn, view in TURNED.items() if np.array_equal(view(plain), image)}
        assert len(alike) == 1
        met |= alike
    assert {1, 6} <= met
    # one entry: tag, type (2 text, 3 short, 5 rational, 12 double), count, value or its place
    for kind, count, value in ((2, 2, b"6\0\0\0"), (3, 1, b"\x09\0\0\0"), (12, 1, bytes(4))):
        entry = struct.pack("<HHHI", 1, 0x0112, kind, count) + value
        exif = b"Exif\0\0II*\0\x08\0\0\0" + entry + bytes(4)
        data = saved(scene(1), format, exif=exif, **options)
        np.testing.assert_array_equal(decode_image(data), plain)
    xmp = b'<x:xmpmeta><rdf:RDF tiff:Orientation="6"/></x:xmpmeta>'
    if format != "PNG":
        data = saved(scene(1), format, xmp=xmp, **options)
        np.testing.assert_array_equal(decode_image(data), plain)


@pytest.mark.parametrize("place", ["before", "after"])
def test_a_png_is_read_whatever_it_says_besides_its_pixels(place):
    rng, plain = random.Random(place), saved(scene(1), "PNG")
    expected, million = decode_image(plain), rng.randbytes(1_200_000)
    at = 33 if place == "before" else len(plain) - 12
    for name, data in {
        b"tEXt": b"workflow\0" + b"x" * 3_000_000,
        b"zTXt": b"workflow\0\0" + zlib.compress(bytes(90_000_000)),
        b"iTXt": b"workflow\0\1\0\0\0" + zlib.compress(million),
        b"iCCP": b"icc\0\0" + zlib.compress(million),
        b"eXIf": b"MM\0*" + million,
        b"caBX": million,
        b"pHYs": b"",
        b"gAMA": b"\0",
    }.items():
        content = with_chunk(plain, name, data, at)
        np.testing.assert_array_equal(decode_image(content), expected)
        broken = content[: at + 8 + len(data)] + b"\0\0\0\0" + content[at + 12 + len(data) :]
        if name != b"eXIf":  # which is used, and so has to be sound
            np.testing.assert_array_equal(decode_image(broken), expected)
    other = saved(scene(2), "PNG")  # sound pixels under a wrong checksum
    with pytest.raises(ImageError, match="checksum of chunk IDAT"):
        decode_image(other[:-16] + b"\0\0\0\0" + other[-12:])
    for _ in range(40):
        flipped = bytearray(plain)
        flipped[rng.randrange(41, len(plain) - 16)] ^= 1 << rng.randrange(8)
        with pytest.raises(ImageError, match="checksum|cut short|damaged"):
            decode_image(bytes(flipped))


def test_the_one_transparent_grey_of_a_16_bit_png_lies_over_white():
    grey = np.array([[1000, 1001], [40000, 65535]], np.uint16).repeat(8, 0).repeat(8, 1)
    data = with_chunk(saved(Image.fromarray(grey), "PNG"), b"tRNS", struct.pack(">H", 1000))
    assert decode_image(data)[::8, ::8, 0].tolist() == [[255, 4], [156, 255]]
    rows = b"".join(b"\0" + struct.pack(">HHH", 300, 0, 0) * 4 for _ in range(4))
    data = with_chunk(png(4, 4, 16, 2, rows), b"tRNS", struct.pack(">HHH", 300, 0, 0))
    with pytest.raises(ImageError, match=r"x\.png: a transparent colour of 16 bits"):
        decode_image(data, "x.png")


def test_avif_and_heif_are_told_apart_by_their_brands():
    heif = pytest.importorskip("pillow_heif")
    if "AVIF" not in Image.registered_extensions().values():
        pytest.skip("this Pillow reads no AVIF")
    plain = saved(scene(1), "AVIF")
    as_mif1 = plain[:8] + b"mif1" + plain[12:]
    before = decode_image(as_mif1)
    buffer = io.BytesIO()
    heif.from_pillow(scene(1)).save(buffer)
    decode_image(buffer.getvalue())  # which registers a reader that takes mif1 as well
    np.testing.assert_array_equal(decode_image(as_mif1), before)
    np.testing.assert_array_equal(decode_image(plain), before)


@pytest.mark.parametrize("another_librarys_setting", [False, True])
@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF"])
def test_cut_files_never_pass(tmp_path, monkeypatch, format, another_librarys_setting):
    data, file = saved(scene(1), format), tmp_path / "cut.img"
    file.write_bytes(data[: len(data) * 2 // 3])
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", another_librarys_setting)
    with pytest.raises(ImageError, match=r"cut\.img: .*(damaged|cut short|not a known image)"):
        read_image(file)


def test_formats_are_a_closed_list_and_none_starts_a_program(monkeypatch):
    def started(*args, **kwargs):
        raise AssertionError("a program was started")

    monkeypatch.setattr("subprocess.Popen", started)
    monkeypatch.setattr("os.system", started)
    Image.init()
    contents = {"ps": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 40 40\n%%EndComments\nshowpage"}
    for format in Image.SAVE.keys() - {*read.FORMATS, "HEIF", "AVIF", "MPO", "DIB"}:
        try:
            contents[format] = saved(scene(1).convert("L"), format)
        except (OSError, ValueError, KeyError, TypeError):  # not for such pictures
            continue
    assert {"EPS", "PDF", "PPM", "TGA", "ICO"} <= contents.keys()
    for content in contents.values():
        with pytest.raises(ImageError, match=r"x\.jpg: the content is not a known image format"):
            decode_image(content, "x.jpg")


@pytest.mark.skipif(os.name == "nt", reason="pipes and devices of Unix")
def test_pipes_devices_folders_and_monsters_are_refused_without_reading_them(tmp_path):
    os.mkfifo(tmp_path / "pipe.jpg")
    reader, writer = os.pipe()  # what <(...) of a shell gives
    with (tmp_path / "sparse.jpg").open("wb") as file:
        file.truncate(5_000_000_000)
    no_files = [tmp_path / "pipe.jpg", tmp_path, "/dev/zero", "/dev/null", f"/dev/fd/{reader}"]
    for path in no_files:
        with pytest.raises(
            ImageError, match="not a regular file but a folder, pipe or device"
        ) as error:
            read_image(path)
        assert str(path) in str(error.value)
    with pytest.raises(ImageError, match=r"sparse\.jpg: 5000000000 bytes are too many"):
        read_image(tmp_path / "sparse.jpg")
    for path in (tmp_path / "no\0name.jpg", tmp_path / ("x" * 300)):
        with pytest.raises(ImageError, match="cannot be read"):
            read_image(path)
    os.close(reader)
    os.close(writer)


def test_of_large_images_one_is_decoded_at_a_time(monkeypatch):
    monkeypatch.setattr(read, "LARGE", 70 * 90 - 1)
    decoding, most, convert = [], [], read._to_rgb

    def slow(picture, name):
        decoding.append(name)
        most.append(len(decoding))
        threading.Event().wait(0.01)
        decoding.remove(name)
        return convert(picture, name)

    monkeypatch.setattr(read, "_to_rgb", slow)
    for side, together in ((0, False), (1, True)):
        data = saved(scene(1, 70 - side), "PNG")
        most.clear()
        list(ordered_parallel_map(lambda name: decode_image(data, str(name)), range(8), 4))  # noqa: B023
        assert (max(most) > 1) == together


@pytest.mark.skipif(sys.platform != "linux", reason="the measure of memory is Linux's")
def test_threads_that_read_one_after_the_other_keep_no_memory(tmp_path):
    Image.new("RGB", (4000, 3000), "red").save(tmp_path / "large.png")  # 48 MB in Pillow
    script = """if True:
        import resource, sys, threading
        from ddlib.images.read import read_image
        peaks = []
        for threads in (1, 6):
            for _ in range(threads):
                thread = threading.Thread(target=read_image, args=[sys.argv[1]])
                thread.start()
                thread.join()
            peaks.append(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
        print(*peaks)
        """
    command = [sys.executable, "-c", script, tmp_path / "large.png"]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    one, six = (int(kilobytes) / 1e3 for kilobytes in said.split())
    assert six - one < 75  # MB; six threads that keep theirs need 240 more
