"""The detector: MobileNet V1 with a small head, its frozen prefix, and its files.

MobileNet V1 (Howard et al. 2017, arXiv 1704.04861) as Keras builds it, then global average
pooling, a dense layer of 1024 and one logit. The detector takes raw pixels 0..255; scaling is its
first layer.
"""

from __future__ import annotations

import os
from pathlib import Path

import keras
import numpy as np

from ddlib.protocol import Protocol

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")


WEIGHTS_URL = "https://storage.googleapis.com/tensorflow/keras-applications/mobilenet/"


_ALPHAS = {0.25: "2_5", 0.5: "5_0", 0.75: "7_5", 1.0: "1_0"}


_ROWS = (128, 160, 192, 224)


class WeightsError(FileNotFoundError):
    """ImageNet weights were asked for and are nowhere to be had."""


def find_weights(alpha: float, image_size: int = 256) -> Path:
    """Return the file of ImageNet weights: from Keras's cache, else downloaded into it.

    Raises
    ------
    WeightsError
        If they are not in the cache and cannot be downloaded; it says the ways out.
    ValueError
        If no ImageNet weights of this width exist.
    """
    if alpha not in _ALPHAS:
        known = ", ".join(map(str, _ALPHAS))
        raise ValueError(f"alpha={alpha}: ImageNet weights exist for {known} only")
    rows = image_size if image_size in _ROWS else 224
    name = f"mobilenet_{_ALPHAS[alpha]}_{rows}_tf_no_top.h5"
    home = Path(os.environ.get("KERAS_HOME") or Path.home() / ".keras")
    cache = home / "models"
    if (cache / name).is_file():
        return cache / name
    try:
        cache.mkdir(parents=True, exist_ok=True)  # else Keras turns to a temporary folder
        url = WEIGHTS_URL + name
        return Path(keras.utils.get_file(name, url, cache_dir=home, cache_subdir="models"))
    except Exception as error:  # get_file raises a bare Exception when it cannot connect
        raise WeightsError(
            f"{name} is not in {cache} and could not be downloaded ({error}). Three ways out: "
            f"(1) connect once to the internet and run again; (2) copy {name} into the folder "
            "models of a Keras home and set KERAS_HOME to that home; (3) pass weights=None, "
            "or the path of a weights file that you have"
        ) from error


def build_detector(
    alpha: float = 1.0,
    image_size: int | None = 256,
    weights: str | Path | None = "imagenet",
    trainable_layers: int = 10,
    dropout: float = 0.0,
    dense_units: int = 1024,
    pixel_range: tuple[int, int] = (-1, 1),
    batch_norm_momentum: float = 0.99,
    seed: int = 0,
) -> keras.Model:
    """Build the detector: raw pixels in, P(fake) out.

    Parameters
    ----------
    alpha : float
        Width multiplier of MobileNet V1.
    image_size : int or None
        Side of the square input in pixels; None takes any size (for training on crops).
    weights : {"imagenet", None, "highpass"} or path
        Start weights of the backbone (everything before the pooling). "highpass" is random but for
        a first layer of fixed high-pass filters (`highpass_filters`).
    trainable_layers : int
        How many of the backbone's last layers are trained; the study used 10 or 20. The layers
        before them are frozen, batch statistics included.
    dropout : float
        Dropout rate before the logit.
    dense_units : int
        Units of the dense layer before the logit.
    pixel_range : (int, int)
        Where 0..255 is scaled to: (-1, 1) is what the ImageNet weights expect, (0, 1) the study's.
    batch_norm_momentum : float
        Momentum of the moving averages of batch normalisation, in [0, 1).
    seed : int
        Of the random start weights.

    Returns
    -------
    keras.Model
        Input (N, S, S, 3), any numeric type, 0..255; output "score" (N, 1) = P(fake) in [0, 1].
        The layer "logit" holds the value before the sigmoid.
    """
    keras.utils.set_random_seed(seed)
    image = keras.Input((image_size, image_size, 3), name="image")
    low, high = pixel_range
    pixels = keras.layers.Rescaling((high - low) / 255, low, name="pixels")(image)
    backbone = keras.applications.MobileNet(
        input_tensor=pixels, alpha=alpha, include_top=False, weights=None
    )
    _start(backbone, weights, alpha, image_size)
    _freeze(backbone, trainable_layers)
    for layer in backbone.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.momentum = batch_norm_momentum
    x = keras.layers.GlobalAveragePooling2D(name="pool")(backbone.output)
    x = keras.layers.Dense(dense_units, activation="relu", name="features")(x)
    if dropout:
        x = keras.layers.Dropout(dropout, seed=seed, name="dropout")(x)
    logit = keras.layers.Dense(1, name="logit")(x)
    score = keras.layers.Activation("sigmoid", name="score")(logit)
    return keras.Model(image, score, name="detector")


def _start(backbone: keras.Model, weights, alpha: float, image_size: int) -> None:
    if weights == "highpass":
        first = backbone.get_layer("conv1")
        first.set_weights([highpass_filters(first.filters)])
    elif weights is not None:
        file = find_weights(alpha, image_size) if weights == "imagenet" else Path(weights)
        _load_backbone(backbone, file, alpha)


def highpass_filters(filters: int, gain: float = 30.0) -> np.ndarray:
    """Return first-layer weights (3, 3, 3, filters) that show what smoothing would remove.

    Second differences along rows, columns and both, the Laplacian, first differences and one
    smoothing filter, on brightness, repeated with alternating signs. Noise residuals are where
    forensics looks first (Fridrich and Kodovsky 2012; Bayar and Stamm 2016); with them given, a
    network learns traces from hundreds of images that it would otherwise need many more for.

    Parameters
    ----------
    filters : int
        Number of filters.
    gain : float
        Residuals are a few hundredths of the pixel range; the gain brings them to about 1.
    """
    second = np.array([[0, 0, 0], [1, -2, 1], [0, 0, 0]]) / 2
    both = np.array([[-1, 2, -1], [2, -4, 2], [-1, 2, -1]]) / 4
    laplacian = np.array([[0, 1, 0], [1, -4, 1], [0, 1, 0]]) / 4
    first = np.array([[0, 0, 0], [0, 1, -1], [0, 0, 0]])
    smooth = np.outer([1, 2, 1], [1, 2, 1]) / 8 / gain
    bank = np.stack([second, second.T, both, laplacian, -both, -laplacian, first, smooth])
    signs = np.where(np.arange(filters) // len(bank) % 2, -1, 1)
    chosen = bank[np.arange(filters) % len(bank)] * signs[:, None, None] * gain / 3
    return np.repeat(chosen.transpose(1, 2, 0)[:, :, None], 3, axis=2).astype("float32")


def _load_backbone(backbone: keras.Model, file: Path, alpha: float) -> None:
    if not file.is_file():
        raise WeightsError(f"weights file {file} does not exist")
    try:
        backbone.load_weights(file)
    except (ValueError, OSError) as error:
        raise ValueError(
            f"{file} does not hold MobileNet V1 weights of alpha {alpha} without top: {error}"
        ) from error


def _freeze(backbone: keras.Model, trainable_layers: int) -> None:
    # Counted as the study counted: from the last backbone layer, layers without weights included.
    for layer in backbone.layers[:-trainable_layers]:
        layer.trainable = False


def build_from_protocol(protocol: Protocol) -> keras.Model:
    """Build the untrained detector that a protocol asks for."""
    return build_detector(
        alpha=protocol.alpha,
        image_size=protocol.image_size,
        weights=protocol.weights,
        trainable_layers=protocol.trainable_layers,
        dropout=protocol.dropout,
        dense_units=protocol.dense_units,
        pixel_range=protocol.pixel_range,
        batch_norm_momentum=protocol.batch_norm_momentum,
        seed=protocol.seed,
    )
