"""Averaged power spectra: the traces of generators and of resizing that one image hides.

What a generator's upsampling adds is weak but lies at the same frequencies in every image, so it
stands out in the mean spectrum of many residuals (Zhang 2019, Durall 2020, Frank 2020, Corvi 2023).
A logistic regression on the radial spectra of single images, which show no face, learns traces of
generators, of resizing and of JPEG within a second: it exposes what a benchmark can be solved by.
"""

import numpy as np

from ddlib.data.cache import Cache
from ddlib.data.loader import load_images
from ddlib.data.manifest import Manifest
from ddlib.protocol import Protocol
from ddlib.traces.jpeg_history import LUMA

FLOOR = 1e-3  # grey levels squared; far below the 1/12 that rounding to whole levels leaves


def residual(image: np.ndarray) -> np.ndarray:
    """Return the grey image minus its 3 x 3 mean, which leaves fine detail and noise.

    Parameters
    ----------
    image : (H, W, 3) array, or (H, W) if grey already

    Returns
    -------
    (H, W) float
        Grey levels. Edges are mirrored. The gain at frequency (u, v) in cycles per pixel is
        1 - (1 + 2 cos 2 pi u)(1 + 2 cos 2 pi v) / 9.
    """
    grey = np.asarray(image, dtype=np.float64)
    if grey.ndim == 3 and grey.shape[2] == 3:
        grey = grey @ LUMA
    if grey.ndim != 2:
        raise ValueError(f"an image is (H, W, 3) or (H, W); got {np.shape(image)}")
    padded = np.pad(grey, 1, mode="symmetric")
    rows = padded[:-2] + padded[1:-1] + padded[2:]
    return grey - (rows[:, :-2] + rows[:, 1:-1] + rows[:, 2:]) / 9


def mean_spectrum(images) -> np.ndarray:
    """Return the mean log power spectrum of the residuals of images of one size.

    Returns
    -------
    (H, W) float
        log10 of power (grey levels squared), zero frequency in the middle. Averaging logarithms
        keeps one busy image from outweighing the rest.
    """
    spectra = []
    for image in images:
        part = residual(image)
        if spectra and part.shape != spectra[0].shape:
            raise ValueError(
                f"images of {part.shape} and {spectra[0].shape} differ; resize them to one size"
            )
        power = np.abs(np.fft.fft2(part)) ** 2 / part.size
        spectra.append(np.log10(power + FLOOR))
    if not spectra:
        raise ValueError("no images to take a spectrum of")
    return np.fft.fftshift(np.mean(spectra, axis=0))


def radial_profile(spectrum: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the means of a spectrum (S, S), as from `mean_spectrum`, over rings of frequency.

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
    means = np.bincount(ring, weights=spectrum.ravel()) / np.bincount(ring)
    rings = np.arange(1, side // 2 + 1)
    return rings / side, means[rings]


def radial_features(images) -> np.ndarray:
    """Return the `radial_profile` of each image's spectrum: (S, S, 3) uint8 -> (N, S // 2)."""
    return np.stack([radial_profile(mean_spectrum([image]))[1] for image in images])


def spectra_by_preparation(
    manifest: Manifest, protocols: dict[str, Protocol], cache: Cache | None = None
) -> dict[str, np.ndarray]:
    """Return the `radial_features` of the same images prepared by each protocol, by its name."""
    features = {}
    for name, protocol in protocols.items():
        chunks = load_images(manifest, protocol, cache).chunks(64)
        features[name] = radial_features(image for chunk in chunks for image in chunk)
    return features
