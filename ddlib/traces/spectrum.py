"""Averaged power spectra: the traces of generators and of resizing that one picture hides.

What a generator's upsampling adds is weak but sits at the same frequencies in every picture, so it
stands out once the spectra of many residuals are averaged (Zhang 2019, Durall 2020, Frank 2020,
Corvi 2023).
"""

from __future__ import annotations

import numpy as np

FLOOR = 1e-3  # grey levels squared; far below the 1/12 that rounding to whole levels leaves


_GREY = (0.299, 0.587, 0.114)  # ITU-R BT.601 luma


def residual(image: np.ndarray) -> np.ndarray:
    """Return the grey picture minus its 3 x 3 mean: what is left is fine detail and noise.

    Parameters
    ----------
    image : (H, W, 3) array, or (H, W) if grey already

    Returns
    -------
    (H, W) float
        Grey levels. Edges are mirrored. A frequency (u, v) in cycles per pixel is kept by the
        factor 1 - (1 + 2 cos 2 pi u)(1 + 2 cos 2 pi v) / 9.
    """
    grey = np.asarray(image, dtype=np.float64)
    if grey.ndim == 3 and grey.shape[2] == 3:
        grey = grey @ np.array(_GREY)
    if grey.ndim != 2:
        raise ValueError(f"an image is (H, W, 3) or (H, W); got {np.shape(image)}")
    padded = np.pad(grey, 1, mode="symmetric")
    rows = padded[:-2] + padded[1:-1] + padded[2:]
    return grey - (rows[:, :-2] + rows[:, 1:-1] + rows[:, 2:]) / 9


def mean_spectrum(images) -> np.ndarray:
    """Return the mean log power spectrum of the images' residuals.

    Parameters
    ----------
    images : (N, H, W, 3) array or sequence of images of one size

    Returns
    -------
    (H, W) float
        log10 of power (grey levels squared; white noise of variance s^2 has power s^2 at every
        frequency before the `residual`'s filter), zero frequency in the middle, at
        (H // 2, W // 2).
        The mean is taken over logarithms, so that one busy picture does not outweigh the rest.

    Raises
    ------
    ValueError
        If there are no images or their sizes differ.
    """
    total, n = None, 0
    for image in images:
        part = residual(image)
        if total is not None and part.shape != total.shape:
            raise ValueError(
                f"images of {part.shape} and {total.shape} differ; resize them to one size"
            )
        power = np.abs(np.fft.fft2(part)) ** 2 / part.size
        log_power = np.log10(power + FLOOR)
        total, n = log_power if total is None else total + log_power, n + 1
    if total is None:
        raise ValueError("no images to take a spectrum of")
    return np.fft.fftshift(total / n)


def radial_profile(spectrum: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return a spectrum's mean over rings of equal frequency.

    Parameters
    ----------
    spectrum : (S, S) array
        Zero frequency in the middle, as from `mean_spectrum`.

    Returns
    -------
    frequencies : (S // 2,) float
        Cycles per pixel, 1 / S to about 0.5; a ring is 1 / S wide.
    values : (S // 2,) float
    """
    side = spectrum.shape[0]
    if spectrum.ndim != 2 or spectrum.shape[1] != side or side < 2:
        raise ValueError(f"a radial profile needs a square spectrum; got {spectrum.shape}")
    offset = np.arange(side) - side // 2
    ring = np.rint(np.hypot(offset[:, None], offset)).astype(int).ravel()
    sums = np.bincount(ring, weights=spectrum.ravel())
    means = sums / np.maximum(np.bincount(ring), 1)
    rings = np.arange(1, side // 2 + 1)
    return rings / side, means[rings]
