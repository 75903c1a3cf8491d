"""The explorer's picture: for each model a verdict, a score bar, and panels side by side.

Drawn with Pillow, since a Matplotlib figure takes too long to follow a slider. Every statement is
made in words or lines as well as in colour: the verdict is written, the bar's zones are named, and
the hottest part of a map has an outline.
"""

from __future__ import annotations

import functools
import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

SIDE = 384  # pixels of a panel
GAP = 12
INK, FAINT, PAPER, UNSURE = (34, 34, 34), (110, 110, 110), (255, 255, 255), (225, 225, 225)
_HEADER, _CAPTION, _KEY = 94, 22, 26  # heights in pixels


@dataclass(frozen=True, eq=False)
class Panel:
    """One picture with a line above it, and maybe a colour scale below.

    `image` is (H, W, 3) uint8 of any square size; `scale` is a colour map's name and the words at
    its two ends.
    """

    caption: str
    image: np.ndarray
    scale: tuple[str, str, str] | None = None


@dataclass(frozen=True, eq=False)
class Row:
    """What is shown of one model."""

    title: str
    verdict: str  # "real", "unsure" or "fake"
    score: float
    remark: str  # more about the score, or nothing
    band: tuple[float, float]
    panels: list[Panel]


def draw(rows: list[Row]) -> Image.Image:
    """Return all rows, one below the other."""
    width = max(len(row.panels) for row in rows) * (SIDE + GAP) + GAP
    height = _HEADER + _CAPTION + SIDE + _KEY + GAP
    canvas = Image.new("RGB", (width, height * len(rows)), PAPER)
    for number, row in enumerate(rows):
        top = number * height
        _header(canvas, row, GAP, top + 8)
        for place, panel in enumerate(row.panels):
            _panel(canvas, panel, GAP + place * (SIDE + GAP), top + _HEADER)
    return canvas


def png(picture: Image.Image) -> bytes:
    """Encode fast rather than small: this happens at every move of a slider."""
    buffer = io.BytesIO()
    picture.save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()


def enlarge(image: np.ndarray, side: int = SIDE) -> np.ndarray:
    """Return (H, W, 3) uint8 at a panel's size; small pictures keep visible pixels."""
    if image.shape[:2] == (side, side):
        return image
    small = 2 * max(image.shape[:2]) < side
    method = Image.Resampling.NEAREST if small else Image.Resampling.BICUBIC
    return np.asarray(Image.fromarray(image).resize((side, side), method))


def outline(image: np.ndarray, inside: np.ndarray) -> np.ndarray:
    """Return a copy with a white line, edged black, around where `inside` (H, W) bool is true."""
    framed = np.pad(inside, 2)
    ring = _spread(framed) & _spread(~framed)
    edge = _spread(ring) & ~ring
    drawn = image.copy()
    drawn[edge[2:-2, 2:-2]] = 0
    drawn[ring[2:-2, 2:-2]] = 255
    return drawn


def _spread(mask: np.ndarray) -> np.ndarray:
    """Grow a mask by one pixel in four directions."""
    grown = mask.copy()
    grown[1:] |= mask[:-1]
    grown[:-1] |= mask[1:]
    grown[:, 1:] |= mask[:, :-1]
    grown[:, :-1] |= mask[:, 1:]
    return grown


def _header(canvas: Image.Image, row: Row, left: int, top: int) -> None:
    pen = ImageDraw.Draw(canvas)
    pen.text((left, top), row.title, INK, _font(13))
    verdict = f"Verdict: {row.verdict}"
    pen.text((left, top + 17), verdict, INK, _font(18, bold=True))
    after = left + int(_font(18, bold=True).getlength(verdict)) + 14
    pen.text((after, top + 21), f"P(fake) {row.score:.3f}{row.remark}", INK, _font(14))
    _bar(pen, row, left, top + 46, 2 * SIDE + GAP)


def _bar(pen: ImageDraw.ImageDraw, row: Row, left: int, top: int, width: int) -> None:
    """Draw the score from 0 to 1 with its zones named and a marker."""
    bottom, (low, high) = top + 14, (round(left + share * width) for share in row.band)
    pen.rectangle((low, top, high, bottom), UNSURE)
    pen.rectangle((left, top, left + width, bottom), outline=FAINT)
    for word, start, end in (("real", left, low), ("unsure", low, high), ("fake", high, None)):
        end = left + width if end is None else end
        if end - start > _font(12).getlength(word):
            pen.text(((start + end) / 2, bottom + 3), word, FAINT, _font(12), anchor="ma")
    at = left + row.score * width
    pen.polygon([(at - 7, top - 6), (at + 7, top - 6), (at, top + 3)], INK)
    pen.line((at, top, at, bottom), INK, 3)


def _panel(canvas: Image.Image, panel: Panel, left: int, top: int) -> None:
    pen = ImageDraw.Draw(canvas)
    pen.text((left, top + 2), _shortened(panel.caption), INK, _font(13))
    top += _CAPTION
    canvas.paste(Image.fromarray(enlarge(panel.image)), (left, top))
    if panel.scale is None:
        return
    name, start, end = panel.scale
    ends = [int(_font(12).getlength(word)) + 8 for word in (start, end)]
    top += SIDE + 6
    pen.text((left, top), start, INK, _font(12))
    pen.text((left + SIDE, top), end, INK, _font(12), anchor="ra")
    ramp = _ramp(name, SIDE - sum(ends))
    canvas.paste(Image.fromarray(ramp), (left + ends[0], top + 2))


def _ramp(name: str, width: int) -> np.ndarray:
    from matplotlib import colormaps

    colours = colormaps[name](np.linspace(0, 1, width))[:, :3] * 255
    return np.repeat(colours[None].round().astype(np.uint8), 12, axis=0)


def _shortened(text: str) -> str:
    """Cut a line to the width of a panel."""
    while _font(13).getlength(text) > SIDE:
        text = text.rstrip("…")[:-1].rstrip() + "…"
    return text


@functools.cache
def _font(size: int, bold: bool = False) -> ImageFont.FreeTypeFont:
    import matplotlib

    name = "DejaVuSans-Bold.ttf" if bold else "DejaVuSans.ttf"
    return ImageFont.truetype(Path(matplotlib.get_data_path()) / "fonts" / "ttf" / name, size)
