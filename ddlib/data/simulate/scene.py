"""The simulated world that both classes share: light, canvas, background, natural texture.

Everything here is a simulation for teaching. A scene is painted back to front as soft shapes in the
subject's own coordinates, shaded as a height field under one light, and laid over with natural 1/f
texture (Field 1987). No class is decided here: the same scenes go to the camera and to the
generators. The subjects are in `portraits` and `cats`.
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from PIL import Image

TILE = 512  # pixels of the texture tile
PAINT_SIZE = 192  # shapes are soft: they are painted at this size and enlarged, texture is native


@dataclass(frozen=True)
class Scene:
    """A painted scene and where its subject is.

    Attributes
    ----------
    image : ndarray, (size, size, 3) uint8
        The light that reaches the camera, gamma encoded.
    face_box : tuple of int
        x0, y0, x1, y1 in pixels; x1 and y1 lie just outside.
    """

    image: np.ndarray
    face_box: tuple[int, int, int, int]


@lru_cache(maxsize=4)
def tile(seed: int) -> np.ndarray:
    """Return a (TILE, TILE) float32 field of unit variance whose amplitude falls as 1/f."""
    white = np.random.default_rng(seed).standard_normal((TILE, TILE))
    fy, fx = np.fft.fftfreq(TILE)[:, None], np.fft.rfftfreq(TILE)[None]
    radius = np.hypot(fx, fy)
    spectrum = np.fft.rfft2(white) / np.maximum(radius, 2 / TILE)
    field = np.fft.irfft2(spectrum * (radius > 0), s=(TILE, TILE))
    return (field / field.std()).astype(np.float32)


def texture(rng, height: int, width: int) -> np.ndarray:
    """Return a (height, width) float32 window of 1/f texture of about unit variance."""
    field = np.roll(tile(0), tuple(rng.integers(0, TILE, 2)), axis=(0, 1))
    field = field[:: rng.choice([-1, 1]), :: rng.choice([-1, 1])]
    return np.tile(field, (-(-height // TILE), -(-width // TILE)))[:height, :width]


def smooth_texture(rng, cells: int, size: int) -> np.ndarray:
    """Return a (cells, cells) window of `texture`, enlarged smoothly to (size, size)."""
    field = Image.fromarray(texture(rng, cells, cells))
    return np.asarray(field.resize((size, size), Image.Resampling.BICUBIC))


def strand(row, column) -> np.ndarray:
    """Return the texture of hair and fur at these places, which repeats every TILE of them."""
    return tile(1)[row.astype(np.int32) % TILE, column.astype(np.int32) % TILE]


def step(value, width):
    """Return a soft 0..1 edge about value = 0, ``width`` wide."""
    return np.clip(value / width + 0.5, 0, 1)


def bump(u, v, cx, cy, rx, ry):
    """Return a Gaussian hill of height 1."""
    return np.exp(-(((u - cx) / rx) ** 2) - ((v - cy) / ry) ** 2)


class Canvas:
    """A picture being painted, with the subject's coordinates at every pixel.

    x and y are the picture's own directions about the subject's centre, u and v the same turned
    with the head: u to the right, v from the crown (-1) to the chin (+1). ``edge`` is a pixel and a
    half in these units, the width of a crisp edge.
    """

    def __init__(self, size, scale, tilt, shift):
        grid = (np.arange(size, dtype=np.float32) + 0.5) / size * 2 - 1
        x, y = (grid[None] - shift[0]) / scale, (grid[:, None] - shift[1]) / scale
        cos, sin = np.float32(np.cos(tilt)), np.float32(np.sin(tilt))
        self.x, self.y = np.broadcast_to(x, (size, size)), np.broadcast_to(y, (size, size))
        self.u, self.v = cos * x + sin * y, cos * y - sin * x
        self.size, self.scale, self.shift, self.turn = size, scale, shift, (cos, sin)
        self.edge = np.float32(3.0 / size / scale)
        self.image = np.zeros((size, size, 3), np.float32)

    def window(self, cu, cv, radius):
        """Return the slices that hold a disc about (cu, cv) in the subject's coordinates."""
        cos, sin = self.turn
        x, y = cos * cu - sin * cv, sin * cu + cos * cv
        half = self.size / 2
        px = (x * self.scale + self.shift[0] + 1) * half
        py = (y * self.scale + self.shift[1] + 1) * half
        r = radius * self.scale * half + 2
        ends = np.clip([py - r, py + r, px - r, px + r], 0, self.size).astype(int)
        return slice(*ends[:2]), slice(*ends[2:])

    def paint(self, mask, colour, where=(slice(None), slice(None))):
        """Blend ``colour`` (3,) or (h, w, 3) over the picture where ``mask`` (h, w) is 1."""
        part = self.image[where]
        part += mask[..., None] * (colour - part)


def draw_light(rng):
    """Return a unit light direction (x, y, towards the viewer)."""
    direction = np.float32(rng.uniform([-0.75, -0.8, 0.7], [0.75, -0.15, 1.1]))
    return direction / np.linalg.norm(direction)


def shade(height, light, step):
    """Return Lambert shading of a height field, wrapped so that shadows stay soft."""
    dy, dx = np.gradient(height, step)
    normal = 1 / np.sqrt(1 + dx * dx + dy * dy)
    facing = (light[2] - light[0] * dx - light[1] * dy) * normal
    return np.clip((facing + 0.35) / 1.35, 0.06, None)


def background(canvas, rng):
    """Fill the canvas: a gradient, out-of-focus shapes, and a wall's or garden's texture."""
    n = 48
    first, second = rng.uniform(0.12, 0.88, (2, 1, 1, 3)) * 0.75 + rng.uniform(0.05, 0.25)
    grey = rng.uniform(0.4, 0.95)  # how colourful a place is
    first, second = (c.mean() * grey + c * (1 - grey) for c in (first, second))
    y, x = np.mgrid[0:n, 0:n].astype(np.float32) / n
    angle = rng.uniform(0, 2 * np.pi)
    ramp = step((x - 0.5) * np.cos(angle) + (y - 0.5) * np.sin(angle), rng.uniform(0.8, 2))
    picture = first + ramp[..., None] * (second - first)
    for _ in range(rng.integers(0, 9)):
        cx, cy, rx, ry = *rng.uniform(0, 1, 2), *rng.uniform(0.05, 0.35, 2)
        inside = 1 - np.maximum(abs(x - cx) / rx, abs(y - cy) / ry)
        if rng.random() < 0.6:
            inside = 1 - np.hypot((x - cx) / rx, (y - cy) / rx)
        colour = np.clip(first + rng.normal(0, 0.22) + rng.normal(0, 0.06, 3), 0.02, 1)
        cover = rng.uniform(0.3, 0.9) * step(inside, rng.uniform(0.2, 0.9))
        picture += cover[..., None] * (colour - picture)
    picture *= 1 + rng.uniform(0.02, 0.07) * texture(rng, n, n)[..., None]
    small = Image.fromarray((np.clip(picture, 0, 1) * 255).astype(np.uint8))
    full = np.asarray(small.resize((canvas.size,) * 2, Image.Resampling.BICUBIC), np.float32) / 255
    canvas.image[:] = full


def finish(rng, picture, mask, size: int) -> Scene:
    """Enlarge to the native size, lay 1/f texture over everything and find the face's box."""
    picture *= rng.uniform(0.85, 1.1)  # exposure of the scene
    picture *= 1 + np.float32(0.03) * texture(rng, *mask.shape)[..., None]  # skin, cloth, walls
    small = Image.fromarray((np.clip(picture, 0, 1) * 255 + 0.5).astype(np.uint8))
    image = np.asarray(small.resize((size, size), Image.Resampling.BICUBIC))
    grain = texture(rng, size, size) * np.float32(0.015) + np.float32(1)
    grained = image * grain[..., None]
    image = np.minimum(grained, np.float32(255), out=grained).astype(np.uint8)
    soft = Image.fromarray((mask * 255).astype(np.uint8))
    inside = np.asarray(soft.resize((size, size), Image.Resampling.BILINEAR)) > 127
    rows, columns = np.flatnonzero(inside.any(1)), np.flatnonzero(inside.any(0))
    box = (int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1)
    return Scene(image, box)
