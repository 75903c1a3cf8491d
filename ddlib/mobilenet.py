"""MobileNet V1 as a detector of fake faces: raw pixels in, P(fake) out.

The backbone is MobileNet V1 (Howard et al. 2017, arXiv 1704.04861, table 1): one ordinary
convolution and 13 depthwise-separable blocks (`depthwise_separable_block`). After a layer that
scales the pixels, names, order and weight shapes are those of ``keras.applications.MobileNet``, so
that Keras's files of ImageNet weights can be loaded. The network is written out here to be read and
to give access to every layer. The head is global average pooling, one dense layer and one output
unit: the logit, the value before the sigmoid.
"""

import os
from pathlib import Path

import keras
import numpy as np
from keras import layers

# Of the 13 blocks. The width multiplier alpha scales the number of filters.
FILTERS = (64, 128, 128, 256, 256, 512, 512, 512, 512, 512, 512, 1024, 1024)
STRIDES = (1, 2, 1, 2, 1, 2, 1, 1, 1, 1, 1, 2, 1)  # of the depthwise convolutions
WEIGHTS_URL = "https://storage.googleapis.com/tensorflow/keras-applications/mobilenet/"
WEIGHTS_ALPHAS = {0.25: "2_5", 0.5: "5_0", 0.75: "7_5", 1.0: "1_0"}  # alpha in a file's name
WEIGHTS_SIZES = (128, 160, 192, 224)  # pixels; there is a file of weights for each


def build_detector(
    alpha: float = 1.0,
    image_size: int | None = 256,
    weights: str | Path | None = "imagenet",
    trainable_layers: int = 10,
    dropout: float = 0.0,
    dense_units: int = 1024,
    pixel_range: tuple[float, float] = (-1, 1),
    batch_norm_momentum: float = 0.99,
    seed: int = 0,
) -> keras.Model:
    """Build a MobileNet V1 detector, without compiling it.

    Parameters
    ----------
    alpha : float
        Width multiplier: a layer has ``int(alpha * f)`` filters, f being its number at width 1.
    image_size : int or None
        Side of the square input in pixels, at least 32; None takes any size.
    weights : {"imagenet", None, "highpass"} or path
        Start weights of the backbone: those of ImageNet for this size (for other sizes than
        `WEIGHTS_SIZES` those for 224 pixels); None: random; "highpass": random, except for fixed
        high-pass filters in the first layer (`highpass_filters`); a path: a file of weights.
    trainable_layers : int
        How many of the backbone's last layers are trained, those without weights counted too. The
        study used 10 (the last block and half of the one before) and 20 (the last three blocks).
        The others stay as they are, the averages of their batch normalisation included. After
        random weights train all: 100 is more than there are.
    dropout : float
        Dropout rate between the dense layer and the logit.
    dense_units : int
        Units of the dense layer.
    pixel_range : (float, float)
        Range to which 0..255 is scaled: (-1, 1) for ImageNet weights; the study used (0, 1).
    batch_norm_momentum : float
        Batch normalisation keeps averages of its inputs' mean and variance, for use after training;
        each batch moves them by ``1 - batch_norm_momentum`` of the way to its own.
    seed : int
        Of the random start weights. The global random generators are set to it as well.

    Returns
    -------
    keras.Model
        Input (N, S, S, 3), any numeric type, 0..255; output "score" (N, 1) in [0, 1], P(fake) after
        a training in which label 1 means fake. The layer "logit" gives the value before the
        sigmoid.

    Raises
    ------
    ValueError
        If alpha or image_size is out of range, or a file of weights is of another network.
    FileNotFoundError
        If the start weights are not there and cannot be downloaded.

    Examples
    --------
    >>> build_detector(alpha=0.25, image_size=64, weights=None).output_shape
    (None, 1)
    """
    if alpha < 1 / 32:
        raise ValueError(f"alpha={alpha!r} is out of range; from 1/32 on every layer has a filter")
    if image_size is not None and image_size < 32:
        raise ValueError(f"image_size={image_size!r} is out of range; use 32 or more, or None")
    keras.utils.set_random_seed(seed)
    low, high = pixel_range
    momentum = batch_norm_momentum
    image = keras.Input((image_size, image_size, 3), name="image")
    x = layers.Rescaling((high - low) / 255, low, name="pixels")(image)
    conv1 = layers.Conv2D(int(32 * alpha), 3, 2, "same", use_bias=False, name="conv1")
    x = layers.BatchNormalization(momentum=momentum, name="conv1_bn")(conv1(x))
    x = layers.ReLU(6.0, name="conv1_relu")(x)
    for number, (filters, stride) in enumerate(zip(FILTERS, STRIDES, strict=True), start=1):
        x = depthwise_separable_block(x, int(filters * alpha), stride, number, momentum)

    backbone = keras.Model(image, x, name="backbone")  # to load weights and to count layers
    if weights == "highpass":
        conv1.set_weights([highpass_filters(conv1.filters)])
    elif weights is not None:
        file = find_weights(alpha, image_size) if weights == "imagenet" else Path(weights)
        if not file.is_file():
            raise FileNotFoundError(
                f"weights={weights!r}: no such file; use 'imagenet', 'highpass', None or a path"
            )
        try:
            backbone.load_weights(file)
        except (ValueError, OSError) as error:
            raise ValueError(f"{file} holds no MobileNet V1 weights of alpha {alpha}") from error
    n_frozen = max(len(backbone.layers) - trainable_layers, 0)
    for layer in backbone.layers[:n_frozen]:
        layer.trainable = False

    x = layers.GlobalAveragePooling2D(name="pool")(x)
    x = layers.Dense(dense_units, activation="relu", name="features")(x)
    if dropout:
        x = layers.Dropout(dropout, seed=seed, name="dropout")(x)
    x = layers.Dense(1, name="logit")(x)
    score = layers.Activation("sigmoid", name="score")(x)
    return keras.Model(image, score, name="detector")


def depthwise_separable_block(
    x: keras.KerasTensor, filters: int, stride: int, number: int, momentum: float = 0.99
) -> keras.KerasTensor:
    """Apply one block: a 3x3 convolution of each channel by itself, then a 1x1 over all channels.

    For C channels in and K out this needs ``9 C + C K`` weights, an ordinary 3x3 convolution
    ``9 C K``. Each convolution is followed by batch normalisation and ReLU6, a ReLU that ends at 6.

    `filters` is K, `stride` is 1 or 2 (2 halves height and width), `number` is part of the layers'
    names, `momentum` that of batch normalisation.
    """
    if stride == 2:  # pad on the right and below only, as when the ImageNet weights were trained
        x = layers.ZeroPadding2D(((0, 1), (0, 1)), name=f"conv_pad_{number}")(x)
    padding = "same" if stride == 1 else "valid"
    x = layers.DepthwiseConv2D(3, stride, padding, use_bias=False, name=f"conv_dw_{number}")(x)
    x = layers.BatchNormalization(momentum=momentum, name=f"conv_dw_{number}_bn")(x)
    x = layers.ReLU(6.0, name=f"conv_dw_{number}_relu")(x)
    x = layers.Conv2D(filters, 1, padding="same", use_bias=False, name=f"conv_pw_{number}")(x)
    x = layers.BatchNormalization(momentum=momentum, name=f"conv_pw_{number}_bn")(x)
    return layers.ReLU(6.0, name=f"conv_pw_{number}_relu")(x)


def highpass_filters(filters: int) -> np.ndarray:
    """Return first-layer weights (3, 3, 3, filters) float32 of fixed high-pass filters.

    Each gives a residual: the difference between a pixel and what its neighbours predict, which
    shows noise and hides content. Forensic detectors start from residuals (Fridrich and Kodovsky
    2012, "Rich models for steganalysis of digital images"). They are a few hundredths of the pixel
    range; a gain of 30 brings them to about 1. One filter of eight smooths instead, so that
    brightness is not lost. The filters stay fixed while the first layer is not trained.
    """
    gain = 30
    across = np.array([[0, 0, 0], [1, -2, 1], [0, 0, 0]]) / 2  # the second derivative
    square = np.array([[-1, 2, -1], [2, -4, 2], [-1, 2, -1]]) / 4  # across and along
    laplacian = np.array([[0, 1, 0], [1, -4, 1], [0, 1, 0]]) / 4
    slope = np.array([[0, 0, 0], [0, 1, -1], [0, 0, 0]])  # the first derivative
    smooth = np.outer([1, 2, 1], [1, 2, 1]) / 8 / gain
    # ReLU cuts off what is negative, so both signs of a filter are of use
    bank = np.stack([across, across.T, square, laplacian, -square, -laplacian, slope, smooth])
    numbers = np.arange(filters)
    signs = np.where(numbers // len(bank) % 2, -1, 1)  # every second round of the bank
    chosen = bank[numbers % len(bank)] * signs[:, None, None] * gain / 3  # a third for each colour
    kernels = chosen.transpose(1, 2, 0)[:, :, None]  # (3, 3, 1, filters)
    return np.repeat(kernels, 3, axis=2).astype("float32")


def find_weights(alpha: float, image_size: int | None) -> Path:
    """Return the file of ImageNet weights in Keras's cache, downloaded if it is not there.

    The cache is the folder ``models`` in ``KERAS_HOME``; without that variable ``~/.keras/models``.
    """
    import pooch

    if alpha not in WEIGHTS_ALPHAS:
        known = ", ".join(map(str, WEIGHTS_ALPHAS))
        raise ValueError(f"alpha={alpha!r}: ImageNet weights exist for {known} only")
    # convolutions do not depend on the image's size, so that any file can be loaded
    size = image_size if image_size in WEIGHTS_SIZES else 224
    name = f"mobilenet_{WEIGHTS_ALPHAS[alpha]}_{size}_tf_no_top.h5"
    cache = Path(os.environ.get("KERAS_HOME") or Path.home() / ".keras") / "models"
    if (cache / name).is_file():  # it may be read-only, which pooch refuses
        return cache / name
    try:
        pooch.get_logger().setLevel("WARNING")  # Keras publishes no hash that it could ask for
        return Path(pooch.retrieve(WEIGHTS_URL + name, None, name, cache, progressbar=True))
    except OSError as error:
        raise FileNotFoundError(
            f"{name} is not in {cache} and could not be downloaded ({error}). Connect once to the "
            f"internet; or copy the file from {WEIGHTS_URL} into the folder models of a Keras home "
            "and set KERAS_HOME to that home; or pass weights=None (random), or a path"
        ) from None
