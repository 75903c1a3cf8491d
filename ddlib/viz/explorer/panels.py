"""The explorer's picture: the input and each model's map side by side, each with its verdict.

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


COLUMNS = 3  # panels in a row, at most


INK, FAINT, PAPER, UNSURE = (34, 34, 34), (100, 100, 100), (255, 255, 255), (225, 225, 225)


HEAD, CAPTION, SCALE = 98, 26, 30  # heights in pixels of what stands around a panel


@dataclass(frozen=True)
class Verdict:
    """What a model says: a verdict in a word, P(fake), and the band that is called unsure."""

    model: str
    word: str
    score: float
    remark: str
    band: tuple[float, float]


@dataclass(frozen=True, eq=False)
class Panel:
    """One picture with a line above it, and maybe a verdict or words above and a scale below.

    `image` is (H, W, 3) uint8 of any square size; `scale` is a colour map's name and the words at
    its two ends.
    """

    caption: str
    image: np.ndarray
    scale: tuple[str, str, str] | None = None
    header: Verdict | list[str] | None = None


def draw(panels: list[Panel]) -> Image.Image:
    """Return the panels from left to right and top down."""
    rows = [panels[start : start + COLUMNS] for start in range(0, len(panels), COLUMNS)]
    tops, height = [], 8
    for row in rows:
        tops.append(height)
        height += HEAD * any(panel.header is not None for panel in row)
        height += CAPTION + SIDE + SCALE
    width = min(len(panels), COLUMNS) * (SIDE + GAP) + GAP
    canvas = Image.new("RGB", (width, height), PAPER)
    for top, row in zip(tops, rows, strict=True):
        below = top + HEAD * any(panel.header is not None for panel in row)
        for place, panel in enumerate(row):
            left = GAP + place * (SIDE + GAP)
            _header(canvas, panel.header, left, top)
            _panel(canvas, panel, left, below)
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


def _header(canvas: Image.Image, header: Verdict | list[str] | None, left: int, top: int) -> None:
    pen = ImageDraw.Draw(canvas)
    if isinstance(header, Verdict):
        _verdict(pen, header, left, top)
    for number, line in enumerate(header if isinstance(header, list) else []):
        shown = _shortened(line, _font(15))
        pen.text((left, top + 22 * number), shown, INK, _font(15))


def _verdict(pen: ImageDraw.ImageDraw, said: Verdict, left: int, top: int) -> None:
    pen.text((left, top), _shortened(said.model, _font(15)), INK, _font(15))
    bold = _font(20, bold=True)
    pen.text((left, top + 21), said.word, INK, bold)
    after = left + int(bold.getlength(said.word)) + 12
    pen.text((after, top + 26), f"P(fake) {said.score:.3f}{said.remark}", INK, _font(15))
    _bar(pen, said, left, top + 58)


def _bar(pen: ImageDraw.ImageDraw, said: Verdict, left: int, top: int) -> None:
    """Draw the score from 0 to 1 with its zones named and a marker."""
    bottom, (low, high) = top + 14, (round(left + share * SIDE) for share in said.band)
    pen.rectangle((low, top, high, bottom), UNSURE)
    pen.rectangle((left, top, left + SIDE, bottom), outline=FAINT)
    for word, start, end in (("real", left, low), ("unsure", low, high), ("fake", high, None)):
        end = left + SIDE if end is None else end
        if end - start > _font(14).getlength(word):
            pen.text(((start + end) / 2, bottom + 3), word, FAINT, _font(14), anchor="ma")
    at = left + said.score * SIDE
    pen.polygon([(at - 7, top - 6), (at + 7, top - 6), (at, top + 3)], INK)
    pen.line((at, top, at, bottom), INK, 3)


def _panel(canvas: Image.Image, panel: Panel, left: int, top: int) -> None:
    pen = ImageDraw.Draw(canvas)
    pen.text((left, top + 2), _shortened(panel.caption, _font(15)), INK, _font(15))
    top += CAPTION
    canvas.paste(Image.fromarray(enlarge(panel.image)), (left, top))
    if panel.scale is None:
        return
    name, start, end = panel.scale
    ends = [int(_font(14).getlength(word)) + 8 for word in (start, end)]
    top += SIDE + 6
    pen.text((left, top), start, INK, _font(14))
    pen.text((left + SIDE, top), end, INK, _font(14), anchor="ra")
    ramp = _ramp(name, SIDE - sum(ends))
    canvas.paste(Image.fromarray(ramp), (left + ends[0], top + 3))


def _ramp(name: str, width: int) -> np.ndarray:
    from matplotlib import colormaps

    colours = colormaps[name](np.linspace(0, 1, width))[:, :3] * 255
    return np.repeat(colours[None].round().astype(np.uint8), 12, axis=0)


def _shortened(text: str, font: ImageFont.FreeTypeFont) -> str:
    """Cut a line to the width of a panel."""
    while font.getlength(text) > SIDE:
        text = text.rstrip("…")[:-1].rstrip() + "…"
    return text


@functools.cache
def _font(size: int, bold: bool = False) -> ImageFont.FreeTypeFont:
    import matplotlib

    name = "DejaVuSans-Bold.ttf" if bold else "DejaVuSans.ttf"
    return ImageFont.truetype(Path(matplotlib.get_data_path()) / "fonts" / "ttf" / name, size)
