"""The detector: MobileNet V1 with a small head, its frozen prefix, and its files.

MobileNet V1 (Howard et al. 2017, arXiv 1704.04861) as Keras builds it, then global average
pooling, a dense layer of 1024 and one logit. The detector takes raw pixels 0..255; scaling is its
first layer.
"""

from __future__ import annotations

import os
from functools import lru_cache
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np

from ddlib.files import digest, file_digest, read_json, whole, write_json
from ddlib.protocol import Protocol

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
            "models of a Keras home and set KERAS_HOME to that home; (3) pass weights='random', "
            "or the path of a weights file that you have"
        ) from error


def build_detector(
    alpha: float = 1.0,
    image_size: int | None = 256,
    weights: str | Path = "imagenet",
    trainable_layers: int = 10,
    dropout: float = 0.0,
    head: int = 1024,
    pixel_range: tuple[int, int] = (-1, 1),
    norm_momentum: float = 0.99,
    seed: int = 0,
) -> keras.Model:
    """Build the detector: raw pixels in, P(fake) out.

    Parameters
    ----------
    alpha : float
        Width multiplier of MobileNet V1.
    image_size : int or None
        Side of the square input in pixels; None takes any size (for training on crops).
    weights : {"imagenet", "random", "residual"} or path
        Start weights of the backbone (everything before the pooling). "residual" is random but for
        a first layer of fixed high-pass filters (`residual_filters`).
    trainable_layers : int
        How many of the backbone's last layers are trained; the study used 10 or 20. The layers
        before them are frozen, batch statistics included.
    dropout : float
        Dropout rate before the logit.
    head : int
        Units of the dense layer before the logit.
    pixel_range : (int, int)
        Where 0..255 is scaled to: (-1, 1) is what the ImageNet weights expect, (0, 1) the study's.
    norm_momentum : float
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
    _start(backbone, str(weights), alpha, image_size)
    _freeze(backbone, trainable_layers)
    for layer in backbone.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.momentum = norm_momentum
    x = keras.layers.GlobalAveragePooling2D(name="pool")(backbone.output)
    x = keras.layers.Dense(head, activation="relu", name="features")(x)
    if dropout:
        x = keras.layers.Dropout(dropout, seed=seed, name="dropout")(x)
    logit = keras.layers.Dense(1, name="logit")(x)
    score = keras.layers.Activation("sigmoid", name="score")(logit)
    return keras.Model(image, score, name="detector")


def _start(backbone: keras.Model, weights: str, alpha: float, image_size: int) -> None:
    if weights == "residual":
        first = backbone.get_layer("conv1")
        first.set_weights([residual_filters(first.filters)])
    elif weights != "random":
        file = find_weights(alpha, image_size) if weights == "imagenet" else Path(weights)
        _load_backbone(backbone, file, alpha)


def residual_filters(filters: int, gain: float = 30.0) -> np.ndarray:
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


def build_from(protocol: Protocol) -> keras.Model:
    """Build the untrained detector that a protocol asks for."""
    return build_detector(
        alpha=protocol.alpha,
        image_size=protocol.image_size,
        weights=protocol.weights,
        trainable_layers=protocol.trainable_layers,
        dropout=protocol.dropout,
        head=protocol.head,
        pixel_range=protocol.pixel_range,
        norm_momentum=protocol.norm_momentum,
        seed=protocol.seed,
    )


def split_prefix(detector: keras.Model) -> tuple[keras.Model, keras.Model]:
    """Cut a detector before its first trained layer into (prefix, tail).

    Both share the detector's layers: training the tail trains the detector, and
    ``tail(prefix(x)) == detector(x)``. The prefix never changes, so it needs to run only once for
    each image.

    Raises
    ------
    ValueError
        If nothing is trainable, or the layers are not a chain.
    """
    layers = detector.layers
    trained = [i for i, layer in enumerate(layers) if layer.trainable_weights]
    if not trained:
        raise ValueError("no layer of the detector is trainable: there is no tail to train")
    cut = max(trained[0], 1)
    prefix = keras.Model(layers[0].output, layers[cut - 1].output, name="prefix")
    x = features = keras.Input(layers[cut - 1].output.shape[1:], name="prefix_features")
    for before, layer in zip(layers[cut - 1 :], layers[cut:], strict=False):
        if layer.input is not before.output:
            raise ValueError(f"layer {layer.name} does not follow {before.name}: not a chain")
        x = layer(x)
    return prefix, keras.Model(features, x, name="tail")


@lru_cache(maxsize=4)  # so that what is traced for the answer is traced once
def without_score(model: keras.Model) -> keras.Model:
    """Return the model up to its layer "logit", for a detector or its tail: logits (N, 1)."""
    x = model.input
    for layer in model.layers[1:]:
        x = layer(x)
        if layer.name == "logit":
            return keras.Model(model.input, x, name=f"{model.name}_to_logit")
    raise ValueError(f"model {model.name} has no layer 'logit'")


def save_detector(
    detector: keras.Model, path: Path, protocol: Protocol, provenance: dict | None = None
) -> Path:
    """Write the detector to ``path`` (.keras) and what made it to a .json beside it, atomically."""
    path = Path(path)
    if path.suffix != ".keras":
        raise ValueError(f"{path} must end in .keras, Keras's own format")
    with whole(path) as unfinished:
        detector.save(unfinished)
        card = {
            "protocol": protocol.to_dict(),
            "sha256": file_digest(unfinished),
            "provenance": provenance or {},
        }
        write_json(path.with_suffix(".json"), card)
    return path


def load_detector(path: Path) -> tuple[keras.Model, Protocol, dict]:
    """Load what `save_detector` wrote, in Keras's safe mode: (detector, protocol, provenance).

    Raises
    ------
    FileNotFoundError
        If the model or the .json beside it is missing.
    ValueError
        If the model file is not the one that the .json describes.
    """
    path = Path(path)
    for file in (path, path.with_suffix(".json")):
        if not file.is_file():
            raise FileNotFoundError(f"{file} is missing; a detector is a .keras and a .json file")
    card = read_json(path.with_suffix(".json"))
    if file_digest(path) != card["sha256"]:
        raise ValueError(f"{path} is not the file that {path.stem}.json describes: hashes differ")
    detector = keras.models.load_model(path, compile=False, safe_mode=True)
    return detector, Protocol.from_dict(card["protocol"]), card["provenance"]


def weights_digest(model: keras.Model) -> str:
    """Return the digest of a model's weights, in order."""
    return digest(*(np.ascontiguousarray(array).tobytes() for array in model.get_weights()))
