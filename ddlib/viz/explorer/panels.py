"""The panels of the explorer: an image, and the words above it as HTML and as plain text.

Nothing is said by colour alone: verdict and zones are written, the hottest part has an outline.
"""

import io
from dataclasses import dataclass
from html import escape

import numpy as np
from matplotlib import colormaps
from matplotlib.colors import to_hex
from PIL import Image
from scipy.ndimage import maximum_filter, minimum_filter

SIDE = 384  # pixels of an image


@dataclass(frozen=True, eq=False)
class Panel:
    """An image and what is said of it."""

    image: np.ndarray  # (S, S, 3) uint8
    caption: str
    title: str = ""
    word: str = ""  # the verdict, written large
    remark: str = ""
    score: float | None = None  # P(fake), marked on a bar
    band: tuple[float, float] = (0.5, 0.5)  # the zone of it that is called unsure
    scale: tuple[str, str] | None = None  # a colour map, and what its upper end means

    @property
    def lines(self) -> list[str]:
        """What the panel says, as plain text."""
        verdict = f"{self.word}, {self.remark}" if self.word else self.remark
        scale = f"colours from 0 to {self.scale[1]}" if self.scale else ""
        return [line for line in (self.title, verdict, self.caption, scale) if line]

    @property
    def html(self) -> str:
        """What stands above the image."""
        large = f"<b>{self.word}</b> " if self.word else ""
        parts = [f"<div>{escape(self.title)}</div><div>{large}{escape(self.remark)}</div>"]
        if self.score is not None:
            low, high = (f"{100 * share:.1f}%" for share in self.band)
            marker = f'<i style="left: {100 * self.score:.1f}%">▼</i>'
            zones = "<span>real</span><span>unsure</span><span>fake</span>"
            parts.append(f'<div class="ddlib-bar" style="--low: {low}; --high: {high}">')
            parts.append(f"{marker}{zones}</div>")
        parts.append(f"<div>{escape(self.caption)}</div>")
        if self.scale is not None:
            name, most = self.scale
            colours = ", ".join(to_hex(colormaps[name](i / 8)) for i in range(9))
            ramp = f'<i style="background: linear-gradient(90deg, {colours})"></i>'
            parts.append(f'<div class="ddlib-ramp">0 {ramp} {escape(most)}</div>')
        return "".join(parts)

    @property
    def png(self) -> bytes:
        """The image, encoded fast rather than small: this happens at every move of a slider."""
        buffer = io.BytesIO()
        Image.fromarray(enlarge(self.image)).save(buffer, "PNG", compress_level=1)
        return buffer.getvalue()


def enlarge(image: np.ndarray) -> np.ndarray:
    """Return (H, W, 3) uint8 at a panel's size; small images keep visible pixels."""
    small = 2 * max(image.shape[:2]) < SIDE
    method = Image.Resampling.NEAREST if small else Image.Resampling.BICUBIC
    return np.asarray(Image.fromarray(image).resize((SIDE, SIDE), method))


def outline(image: np.ndarray, inside: np.ndarray) -> np.ndarray:
    """Return a copy with a white line, edged black, around where `inside` (H, W) bool is true."""
    ring = maximum_filter(inside, 3) != minimum_filter(inside, 3)
    drawn = image.copy()
    drawn[maximum_filter(ring, 3)] = 0
    drawn[ring] = 255
    return drawn
