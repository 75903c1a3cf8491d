"""How a simulated scene becomes a picture: one camera and three kinds of generator.

Each returns a picture of the scene's size that then goes through the same JPEG stage. What tells
them apart are traces that the literature names, each simulated in a few lines:

- `camera`: colour filter array, sensor noise that demosaicing correlates, sharpening (Popescu and
  Farid 2005; Lukas, Fridrich and Goljan 2006).
- `gan_decoder`: transposed convolutions whose output phases have unequal kernel sums, so a faint
  grid of period 2, 4, 8 and 16 multiplies the picture (Odena 2016; Zhang 2019; Durall 2020;
  Frank 2020).
- `sd_decoder`: a latent at an eighth of the size, read back with an error of its own and without
  faint texture, then three times nearest-neighbour doubling and a convolution (Corvi 2023).
- `vq_decoder`: every patch replaced by the nearest one of a small codebook (van den Oord 2017).
"""

from functools import lru_cache

import numpy as np

STRIP = 64  # rows worked on at a time: they stay in the processor's cache
GAN_UNEVENNESS = (0.012, 0.026, 0.012, 0.008)  # relative, for grids of period 16, 8, 4 and 2
LATENT_ERROR = 0.8  # grey levels, standard deviation of a decoded latent's error
SD_FAINT = 5.0  # grey levels; half of the detail as strong as this survives the latent
LATENT_TO_RGB = np.float32(  # four latent channels, mostly brightness: their errors share a colour
    [[0.75, 0.75, 0.75], [0.55, 0.6, 0.55], [0.25, 0.0, -0.25], [-0.15, 0.15, -0.1]]
)
_LINEAR = (np.arange(256, dtype=np.float32) / 255) ** np.float32(2.2)
_ADC = 4095  # a 12-bit converter
_GAMMA = ((np.arange(_ADC + 1) / _ADC) ** (1 / 2.2) * 255 + 0.5).astype(np.uint8)


def camera(rng, image):
    """Photograph a scene: lens, Bayer mosaic, sensor noise, demosaicing, gamma, sharpening.

    Parameters
    ----------
    rng : numpy.random.Generator
    image : ndarray, (H, W, 3) uint8, H and W even

    Returns
    -------
    ndarray, (H, W, 3) uint8
    """
    lens = blur(image, rng.uniform(0.05, 0.15))
    mosaic = np.take(_LINEAR, _bayer(lens))
    shot, read = rng.uniform(0.0004, 0.0016), rng.uniform(0.001, 0.004)
    noise = rng.standard_normal(mosaic.shape, dtype=np.float32)
    mosaic += noise * np.sqrt(mosaic * np.float32(shot) + np.float32(read**2))
    np.clip(mosaic, 0, 1, out=mosaic)
    mosaic *= _ADC
    picture = np.take(_GAMMA, demosaic(mosaic).astype(np.int16))
    return blur(picture, -rng.uniform(0.05, 0.12))  # a negative side weight sharpens


def blur(picture, side):
    """Return a picture filtered along both axes with (side, 1 - 2 side, side)."""
    middle, side = np.float32(1 - 2 * side), np.float32(side)
    padded, out = _with_edge(picture), np.empty_like(picture)
    for start in range(0, len(picture), STRIP):
        x = padded[start : start + STRIP + 2].astype(np.float32)
        x = x[1:-1] * middle + (x[:-2] + x[2:]) * side
        x = x[:, 1:-1] * middle + (x[:, :-2] + x[:, 2:]) * side
        out[start : start + STRIP] = _uint8(x)
    return out


def _with_edge(picture):
    """Return a picture with its outermost pixels repeated once, on all sides."""
    return np.pad(picture, ((1, 1), (1, 1), (0, 0)), "edge")


def _bayer(image):
    """Keep one colour at each pixel: red and green in even rows, green and blue in odd rows."""
    mosaic = image[..., 1].copy()
    mosaic[::2, ::2] = image[::2, ::2, 0]
    mosaic[1::2, 1::2] = image[1::2, 1::2, 2]
    return mosaic


def demosaic(mosaic):
    """Return (H, W, 3) colours from an RGGB mosaic, missing ones as means of their neighbours."""
    height, width = mosaic.shape
    padded = np.pad(mosaic, 1, "reflect")  # a Bayer mosaic continues in its mirror image
    out = np.empty((height, width, 3), np.float32)
    for row, column in np.ndindex(2, 2):  # the four places of an RGGB square

        def near(down, right, top=1 + row, left=1 + column):
            """Return what lies so far from each pixel of this place."""
            rows = slice(top + down, height + 1 + down, 2)
            return padded[rows, left + right : width + 1 + right : 2]

        if row != column:
            across, along = near(0, -1) + near(0, 1), near(-1, 0) + near(1, 0)
            green, others = near(0, 0), (across / 2, along / 2)
        else:
            first = 1 - 2 * row  # below first, or above: the order decides the last digit
            green = (near(0, -1) + near(0, 1) + near(first, 0) + near(-first, 0)) / 4
            above, below = near(-1, -1) + near(-1, 1), near(1, -1) + near(1, 1)
            others = near(0, 0), (above / 2 + below / 2) / 2
        red, blue = others if row == 0 else others[::-1]
        for channel, colour in enumerate((red, green, blue)):
            out[row::2, column::2, channel] = colour
    return out


def double(x, spread=0.25):
    """Return (2H, 2W, C) from (H, W, C): nearest-neighbour doubling and one small convolution.

    Every output pixel is (1 - spread) of the pixel it lies in and ``spread`` of the nearest other
    one, along each axis: what a strided transposed convolution with equal phases computes, too.
    """
    height, width, channels = x.shape
    mine, other = np.float32(1 - spread), np.float32(spread)
    padded, out = _with_edge(x), np.empty((2 * height, 2 * width, channels), np.float32)
    for start in range(0, height, STRIP):
        strip = padded[start : start + STRIP + 2]
        to = out[2 * start : 2 * (start + STRIP)]
        for row, above in enumerate((strip[:-2], strip[2:])):
            wide = strip[1:-1] * mine + above * other
            for column, beside in enumerate((wide[:, :-2], wide[:, 2:])):
                to[row::2, column::2] = wide[:, 1:-1] * mine + beside * other
    return out


def _halve(x):
    """Return means of 2 x 2 pixels."""
    return (x[::2, ::2] + x[1::2, ::2] + x[::2, 1::2] + x[1::2, 1::2]) * np.float32(0.25)


def _pyramid(image, levels):
    """Return float32 pictures from the coarsest to the full size."""
    pictures = [image.astype(np.float32)]
    for _ in range(levels):
        pictures.append(_halve(pictures[-1]))
    return pictures[::-1]


def _grid(height, width, unevenness):
    """Return (H, W, C) gains of a transposed convolution whose even and odd sums differ."""
    sign, e = np.float32([1, -1]), unevenness.astype(np.float32)
    rows, columns = np.tile(sign, height // 2), np.tile(sign, width // 2)
    return (1 + rows[:, None, None] * e) * (1 + columns[None, :, None] * e)


def _uint8(picture):
    return np.clip(picture + np.float32(0.5), 0, 255).astype(np.uint8)


def gan_upsampling(rng, image, unevenness=GAN_UNEVENNESS):
    """Rebuild a picture through four uneven transposed convolutions, each adding its detail.

    The unevenness of a layer is a fixed fact of the generator, scaled picture by picture and colour
    by colour as style modulation scales a layer's weights. The result is (H, W, 3) float32.
    """
    scenes = _pyramid(image, len(unevenness))
    x = scenes[0]
    for coarse, fine, uneven in zip(scenes, scenes[1:], unevenness, strict=False):
        gain = _grid(*fine.shape[:2], uneven * rng.uniform(0.7, 1.3) * rng.uniform(0.8, 1.2, 3))
        x = double(x) * gain + (fine - double(coarse))
    return x


def gan_decoder(rng, image):
    """Decode a scene as a GAN does; its noise inputs imitate the grain of photographs."""
    look = blur(blur(image, rng.uniform(0.15, 0.22)), -rng.uniform(0.05, 0.12))
    x = gan_upsampling(rng, look)
    grain = rng.standard_normal(image.shape[:2], dtype=np.float32)
    grain = np.pad(grain, ((0, 1), (0, 1)), "edge")
    grain = grain[:-1, :-1] * 0.8 + grain[:-1, 1:] * 0.4 + grain[1:, :-1] * 0.4
    return _uint8(x + grain[..., None] * np.float32(rng.uniform(1.5, 3)))


def sd_decoder(rng, image):
    """Decode a scene as Stable Diffusion does, from a latent at an eighth of the size.

    The denoiser works on the latent and on halves of it, so both carry an error; like Wiener's
    filter it takes faint detail for noise at every scale and keeps strong edges.
    """
    scenes = _pyramid(image, 5)
    x = scenes[0]
    error = LATENT_ERROR * rng.uniform(0.8, 1.2)
    for level, (coarse, fine) in enumerate(zip(scenes, scenes[1:], strict=False)):
        detail = fine - double(coarse, 0.2)
        power = detail * detail
        detail *= power / (power + np.float32(SD_FAINT**2))
        x = double(x, 0.2)
        x += detail
        if level < 2:
            latent = rng.standard_normal((*fine.shape[:2], 4), dtype=np.float32)
            x += latent @ LATENT_TO_RGB * np.float32(error)
    return _uint8(x)


@lru_cache(maxsize=1)
def _codebook():
    """Return 48 smooth 4 x 4 patches of zero mean, and the empty one: (49, 16) float32."""
    rng = np.random.default_rng(8)
    i = np.arange(4)
    waves = np.cos(np.pi * (i + 0.5) * i[:, None] / 4)
    basis = np.einsum("ay,bx->abyx", waves, waves).reshape(16, 16)[1:]
    weight = 1 / (1 + np.add.outer(i, i).reshape(16)[1:]) ** 1.5
    patches = rng.normal(size=(48, 15)) * weight @ basis
    patches *= rng.choice([4, 10, 22], (48, 1)) / np.sqrt((patches**2).mean(1, keepdims=True))
    return np.concatenate([np.zeros((1, 16)), patches]).astype(np.float32)


def vq_decoder(rng, image):
    """Decode a scene from a codebook: each 4 x 4 patch is its mean and its nearest code word."""
    del rng  # a codebook has no randomness of its own
    height, width, _ = image.shape
    x = image.astype(np.float32)
    base = double(double(_halve(_halve(x))))
    detail = (x - base).mean(2).reshape(height // 4, 4, width // 4, 4).swapaxes(1, 2)
    book = _codebook()
    nearest = (detail.reshape(-1, 16) @ book.T - (book**2).sum(1) / 2).argmax(1)
    coded = book[nearest].reshape(height // 4, width // 4, 4, 4).swapaxes(1, 2)
    return _uint8(base + coded.reshape(height, width, 1))
