"""Whether a JPEG or PNG holds all of its pixels: what their decoders let pass in silence.

libjpeg paints what is missing grey and skips what is left over; it tells by warnings, which Pillow
discards. Both happen as soon as a bit is wrong, because lengths in a JPEG follow from its contents.
"""

import re
import zlib
from collections.abc import Iterator
from math import ceil

import numpy as np
from PIL import Image

MAX_SCANS = 100  # of a progressive JPEG, which has about ten; each costs a pass over all pixels
# Begun with one literal byte, for which `re` has a fast search: "\xff+" takes 14 times as long.
_MARKER = re.compile(rb"\xff\xff*([^\x00\xff])", re.DOTALL)
_SOI, _EOI, _SOS, _DRI, _DHT = 0xD8, 0xD9, 0xDA, 0xDD, 0xC4
_FRAMES = {*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC}
_PROGRESSIVE = 0xC2
_RESTARTS = range(0xD0, 0xD8)
# Zeros are flat blocks if the first code of each Huffman table means 0. If not, so many of them are
# blocks with all frequencies alike: damage, even if they stand for as many blocks as are lost.
_HOLE = bytes(64)
_SLACK = 4  # bytes that some encoders add to the end of a scan
# Bits of 1 are no Huffman code. libjpeg reads up to eight bytes ahead of the block that it decodes.
_FILLER = b"\xff\x00" * 8
_PIXEL_CHUNKS = (b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"eXIf", b"IEND")


def load_jpeg(picture: Image.Image, data: bytes) -> None:
    """Decode an opened JPEG; raise ValueError unless its data end just where its pixels end.

    Each run of entropy-coded data is handed to the decoder in two pieces. Before the last bytes it
    must still want more; after them it must be looking for the next marker.
    """
    runs, end = _entropy_coded(data)
    picture.load_prepare()
    codec, extents, _, arguments = picture.tile[0][:4]
    decoder = Image._getdecoder(picture.mode, codec, arguments, picture.decoderconfig)
    decoder.setimage(picture.im, extents)
    feed = _Feed(decoder)
    fed = 0
    for start, stop in runs:
        feed(data[fed : max(start, stop - _SLACK)])
        if stop - _SLACK > start and feed.seeks_marker():
            raise ValueError("bytes are left over between its blocks and the next marker")
        fed = max(start, stop - _SLACK)
        feed(data[fed:stop] + _FILLER)
        if not feed.seeks_marker():
            raise ValueError("blocks are missing before a marker")
        fed = stop
    feed(data[fed:end])
    if not feed.done:
        raise ValueError("the end marker came before the last block")
    picture.tile = []  # as ImageFile.load does when all is decoded


class _Feed:
    """Hands bytes to a decoder of Pillow and keeps those that it has not consumed."""

    def __init__(self, decoder):
        self.decoder, self.rest, self.done = decoder, b"", False

    def __call__(self, data: bytes) -> None:
        if self.done:
            return
        consumed, error = self.decoder.decode(self.rest + data)
        if consumed < 0 and error:
            raise ValueError(f"the decoder stopped with error {error}")
        self.rest, self.done = (self.rest + data)[max(consumed, 0) :], consumed < 0

    def seeks_marker(self) -> bool:
        """Tell whether a byte more is skipped: inside a run the decoder waits for eight more."""
        if not self.done and not self.rest:
            self(b"\x00")
            waits, self.rest = bool(self.rest), b""
            return not waits
        return self.done


def _entropy_coded(data: bytes) -> tuple[list[tuple[int, int]], int]:
    """Return where each run of entropy-coded data starts and stops, and where the picture ends.

    Raises ValueError if a run, a scan or the end marker is missing, or a hole of zeros is seen.
    """
    runs, expected, scans, interval = [], 0, 0, 0
    bits_left, zeros_are_flat = {}, True  # what later scans add, by component; see _HOLE
    for code, segment, start, stop in _markers(data):
        if code in _FRAMES:
            frame, progressive = segment, code == _PROGRESSIVE
            bits_left = {component: np.full(64, 99) for component in frame[6::3]}
        elif code == _DHT:
            at = 0
            while at < len(segment):
                zeros_are_flat &= segment[at + 17] == 0
                at += 17 + sum(segment[at + 1 : at + 17])
        elif code == _DRI:
            interval = int.from_bytes(segment[:2], "big")
        elif code == _SOS:
            if len(runs) != expected or scans == MAX_SCANS:
                break
            scans += 1
            components, (first, last, bits) = segment[1:-3:2], segment[-3:]
            expected += ceil(_blocks(frame, components) / interval) if interval else 1
            runs.append((start, stop))
            for component in components:
                band = slice(first, last + 1) if progressive else slice(None)
                bits_left[component][band] = bits & 15 if progressive else 0
        elif code in _RESTARTS and len(runs) < expected:
            runs.append((start, stop))
        elif code in (_SOI, _EOI) or code in _RESTARTS:
            break
    if scans == MAX_SCANS and code == _SOS:
        raise ValueError(f"it has more than {MAX_SCANS} scans")
    if code != _EOI or len(runs) != expected or any(left.any() for left in bits_left.values()):
        raise ValueError("scans or parts of them are missing")
    holes = not progressive and not zeros_are_flat
    if holes and any(data.find(_HOLE, *run) >= 0 for run in runs):
        raise ValueError("it has a hole of zeros")
    return runs, start


def _markers(data: bytes) -> Iterator[tuple[int, bytes, int, int]]:
    """Yield each marker with its segment, and where what follows it starts and stops."""
    found = _MARKER.search(data, 2)
    while found:
        code, start, segment = found[1][0], found.end(), b""
        if code not in _RESTARTS and code != _EOI:
            length = int.from_bytes(data[start : start + 2], "big")
            start, segment = start + length, data[start + 2 : start + length]
        found = _MARKER.search(data, start)
        yield code, segment, start, found.start() if found else len(data)


def _blocks(frame: bytes, components: bytes) -> int:
    """Return how many units a scan of these components has (MCU in the standard, ITU-T T.81)."""
    height, width = int.from_bytes(frame[1:3], "big"), int.from_bytes(frame[3:5], "big")
    sampling = dict(zip(frame[6::3], (divmod(hv, 16) for hv in frame[7::3]), strict=True))
    most_h, most_v = (max(sides) for sides in zip(*sampling.values(), strict=True))
    if len(components) > 1:
        return ceil(width / (8 * most_h)) * ceil(height / (8 * most_v))
    h, v = sampling[components[0]]
    return ceil(ceil(width * h / most_h) / 8) * ceil(ceil(height * v / most_v) / 8)


def pixel_chunks(data: bytes) -> bytes:
    """Return a PNG without what holds no pixels; raise ValueError if a chunk is damaged or cut.

    Generated pictures carry their workflow in chunks of text that Pillow refuses above 1 MB.
    """
    kept, at, name = [data[:8]], 8, b""
    while name != b"IEND":
        length, name = int.from_bytes(data[at : at + 4], "big"), data[at + 4 : at + 8]
        end = at + 12 + length
        if end > len(data):
            raise ValueError("a chunk is cut short")
        if name in _PIXEL_CHUNKS:
            if zlib.crc32(data[at + 4 : end - 4]) != int.from_bytes(data[end - 4 : end], "big"):
                raise ValueError(f"the checksum of chunk {name.decode()} is wrong")
            kept.append(data[at:end])
        at = end
    return b"".join(kept)
