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
    x = np.pad(picture, ((1, 1), (1, 1), (0, 0)), "edge").astype(np.float32)
    x = x[1:-1] * middle + (x[:-2] + x[2:]) * side
    x = x[:, 1:-1] * middle + (x[:, :-2] + x[:, 2:]) * side
    return _uint8(x)


def _bayer(image):
    """Keep one colour at each pixel: red and green in even rows, green and blue in odd rows."""
    mosaic = image[..., 1].copy()
    mosaic[::2, ::2] = image[::2, ::2, 0]
    mosaic[1::2, 1::2] = image[1::2, 1::2, 2]
    return mosaic


def demosaic(mosaic):
    """Return (H, W, 3) colours from an RGGB mosaic, missing ones as means of their neighbours."""
    padded = np.pad(mosaic, 1, "reflect")  # a Bayer mosaic continues in its mirror image
    up, down, left, right = padded[:-2, 1:-1], padded[2:, 1:-1], padded[1:-1, :-2], padded[1:-1, 2:]
    across, along = (left + right) / 2, (up + down) / 2
    padded = np.pad(across, ((1, 1), (0, 0)), "reflect")
    diagonal = (padded[:-2] + padded[2:]) / 2
    out = np.repeat(mosaic[..., None], 3, axis=2)
    red, green, blue = np.moveaxis(out, 2, 0)
    green[::2, ::2] = (left + right + down + up)[::2, ::2] / 4
    green[1::2, 1::2] = (left + right + up + down)[1::2, 1::2] / 4
    red[::2, 1::2], blue[1::2, ::2] = across[::2, 1::2], across[1::2, ::2]
    red[1::2, ::2], blue[::2, 1::2] = along[1::2, ::2], along[::2, 1::2]
    red[1::2, 1::2], blue[::2, ::2] = diagonal[1::2, 1::2], diagonal[::2, ::2]
    return out


def _neighbour(x, axis, step):
    """Return the value ``step`` places further along an axis, the edge repeated."""
    last = x.shape[axis] - 1
    return np.take(x, np.clip(np.arange(last + 1) + step, 0, last), axis)


def double(x, spread=0.25):
    """Return (2H, 2W, C) from (H, W, C): nearest-neighbour doubling and one small convolution.

    Every output pixel is (1 - spread) of the pixel it lies in and ``spread`` of the nearest other
    one, along each axis: what a strided transposed convolution with equal phases computes, too.
    """
    for axis in (0, 1):
        mine, other = x * np.float32(1 - spread), x * np.float32(spread)
        pair = [mine + _neighbour(other, axis, step) for step in (-1, 1)]
        x = np.stack(pair, axis + 1).reshape(*x.shape[:axis], -1, *x.shape[axis + 1 :])
    return x


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
    grain = grain * 0.8 + _neighbour(grain, 1, 1) * 0.4 + _neighbour(grain, 0, 1) * 0.4
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
        x = double(x, 0.2) + detail * (power / (power + np.float32(SD_FAINT**2)))
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
