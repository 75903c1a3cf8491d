"""Eight-bit weights that keep faint traces: rounded so that the errors of one filter cancel.

What tells a fake is a hundred times as weak as the picture it lies in. Rounding each weight of a
high-pass filter for itself makes the filter leak: its taps no longer add up to zero, and the
picture comes through. So the weights are rounded one after the other, and those to come make up for
what is lost, as far as the pictures that the layer sees allow it (GPTQ: Frantar et al. 2022, arXiv
2210.17323). What is lost on average goes into the bias (Nagel et al. 2019, arXiv 1906.04721).

The first layers work on single pixels, where a step of 6/255 is as large as the traces. They stay
in floating point, and so does all that follows the mean over places, which is tiny. The dense layer
before it is applied to each place before the mean is taken: both are sums, so nothing else changes,
and its rounding errors average out over the places.
"""

from __future__ import annotations

import keras
import numpy as np

FLOAT_CONVOLUTIONS = 6  # a fifth of the multiply-adds at alpha 0.25, an eighth at 1


FLOAT = "float_"  # begins the names of layers that are not to be quantised


STEPS = 127  # on either side of zero


_CHUNK = 8  # pictures at once


_LARGE = 24  # cells a side; of larger maps every third row and column is enough


_CONVOLUTIONS = (keras.layers.Conv2D, keras.layers.DepthwiseConv2D)


def quantised_copy(
    detector: keras.Model, images: np.ndarray, float_convolutions: int = FLOAT_CONVOLUTIONS
) -> keras.Model:
    """Return the detector up to its logit, ready to be converted to 8 bits.

    Parameters
    ----------
    detector : keras.Model
        As `ddlib.mobilenet.build_detector` makes it.
    images : (N, S, S, 3) uint8
        Prepared pictures of the training split.
    float_convolutions : int
        As many of the first convolutions keep their weights.

    Returns
    -------
    keras.Model
        Raw pixels (N, S, S, 3) float32 in, logit (N, 1) out. Weights of layers whose name does not
        begin with `FLOAT` are whole multiples of one step for each output channel.
    """
    twin = fold_batch_norm(detector, float_convolutions)
    layers = layers_to_quantise(twin)
    for layer, (mean, covariance) in zip(layers, input_moments(twin, layers, images), strict=True):
        kernel, bias = layer.get_weights()
        rows = as_rows(layer, kernel)
        rounded = [gptq_round(*part) for part in zip(rows, covariance, strict=True)]
        lost = np.einsum("grk,gk->gr", rows - rounded, mean).ravel()
        layer.set_weights([as_kernel(layer, np.array(rounded)), bias + lost])
    return twin


def layers_to_quantise(twin: keras.Model) -> list:
    """Return the layers whose weights are kept in 8 bits, from input to output."""
    convolutions = (layer for layer in twin.layers if isinstance(layer, _CONVOLUTIONS))
    return [layer for layer in convolutions if not layer.name.startswith(FLOAT)]


def fold_batch_norm(
    detector: keras.Model, float_convolutions: int = FLOAT_CONVOLUTIONS
) -> keras.Model:
    """Return the same function up to the logit, with fewer kinds of layers.

    Batch normalisation goes into the convolution before it, and the dense layer "features" before
    the mean over places, as a convolution of one place.
    """
    x = image = keras.Input(detector.input_shape[1:], name="image")
    convolutions, features, logit = 0, detector.get_layer("features"), detector.get_layer("logit")
    for layer, following in zip(detector.layers[1:], detector.layers[2:], strict=False):
        if layer.name == "pool":
            break
        if isinstance(layer, keras.layers.BatchNormalization):
            continue
        convolutions += isinstance(layer, _CONVOLUTIONS)
        prefix = FLOAT * (convolutions <= float_convolutions)
        x = _with_norm(layer, following, prefix)(x)
    kernel, bias = features.get_weights()
    spread = keras.layers.Conv2D(features.units, 1, name="features")
    x = keras.layers.GlobalAveragePooling2D(name=f"{FLOAT}pool")(spread(x))
    x = keras.layers.ReLU(name=f"{FLOAT}relu")(x)
    last = keras.layers.Dense(1, name=f"{FLOAT}logit")
    twin = keras.Model(image, last(x), name="twin")
    spread.set_weights([kernel[None, None], bias])
    last.set_weights(logit.get_weights())
    return twin


def _with_norm(layer, norm, prefix: str):
    """Return a copy of a layer; a convolution's takes in the batch normalisation after it."""
    config = layer.get_config() | {"name": prefix + layer.name}
    if not isinstance(layer, _CONVOLUTIONS):
        return type(layer).from_config(config)
    copy = type(layer).from_config(config | {"use_bias": True})
    copy.build(layer.input.shape)
    gamma, beta, mean, variance = (w.astype(np.float64) for w in norm.get_weights())
    factor = gamma / np.sqrt(variance + norm.epsilon)
    rows = as_rows(layer, layer.get_weights()[0].astype(np.float64))
    scaled = rows * factor.reshape(*rows.shape[:2], 1)
    copy.set_weights([as_kernel(layer, scaled), beta - mean * factor])
    return copy


def input_moments(model: keras.Model, layers, images) -> list[tuple[np.ndarray, np.ndarray]]:
    """Return mean (G, K) and covariance (G, K, K) of the patches that each layer weighs.

    A convolution weighs patches of K = k k C numbers (G = 1), a depthwise one patches of K = k k
    numbers in each of its G channels.
    """
    probe = keras.Model(model.input, [layer.input for layer in layers])
    sums: list = [None] * len(layers)
    for start in range(0, len(images), _CHUNK):
        inputs = probe(images[start : start + _CHUNK].astype("float32"), training=False)
        inputs = inputs if isinstance(inputs, list) else [inputs]
        for i, (layer, x) in enumerate(zip(layers, inputs, strict=True)):
            patches = _patches(layer, x.numpy())
            if sums[i] is None:
                sums[i] = [patches.mean(1, keepdims=True), 0, 0.0, 0.0]
            middle = sums[i][0]  # squares about it, or single precision would eat the differences
            apart = patches - middle
            squares = apart.transpose(0, 2, 1) @ apart
            for j, value in enumerate((patches.shape[1], apart.sum(1), squares), 1):
                sums[i][j] = sums[i][j] + value
    return [_mean_and_covariance(*parts) for parts in sums]


def _mean_and_covariance(middle, n, total, squares):
    shift = (total / n).astype(np.float64)
    return middle[:, 0] + shift, squares / n - shift[:, :, None] * shift[:, None, :]


def _patches(layer, x: np.ndarray) -> np.ndarray:
    """Return patches of (N, H, W, C) that a convolution weighs: (G, places, K)."""
    side, step = layer.kernel_size[0], layer.strides[0]
    step *= 3 if x.shape[1] > _LARGE else 1
    if layer.padding == "same":
        x = np.pad(x, ((0, 0), (side // 2,) * 2, (side // 2,) * 2, (0, 0)))
    windows = np.lib.stride_tricks.sliding_window_view(x, (side, side), axis=(1, 2))
    windows = windows[:, ::step, ::step]  # (N, h, w, C, side, side)
    if isinstance(layer, keras.layers.DepthwiseConv2D):
        return windows.transpose(3, 0, 1, 2, 4, 5).reshape(x.shape[-1], -1, side * side)
    return windows.transpose(0, 1, 2, 4, 5, 3).reshape(1, -1, side * side * x.shape[-1])


def as_rows(layer, kernel: np.ndarray) -> np.ndarray:
    """Return a kernel as (G, R, K): R output channels of each of G groups, K weights each."""
    if isinstance(layer, keras.layers.DepthwiseConv2D):
        return kernel.reshape(-1, kernel.shape[2]).T[:, None]
    return kernel.reshape(-1, kernel.shape[3]).T[None]


def as_kernel(layer, rows: np.ndarray) -> np.ndarray:
    """Return the kernel that `as_rows` took apart."""
    size = layer.kernel_size
    if isinstance(layer, keras.layers.DepthwiseConv2D):
        return rows[:, 0].T.reshape(*size, -1, 1)
    return rows[0].T.reshape(*size, -1, rows.shape[1])


def round_one_by_one(weights: np.ndarray) -> np.ndarray:
    """Round weights (..., K) to the nearest of 255 steps, as converters do; a step for each row."""
    step = np.abs(weights).max(-1, keepdims=True).astype(np.float64) / STEPS
    step[step == 0] = 1.0
    return np.round(weights / step) * step


def gptq_round(weights: np.ndarray, covariance: np.ndarray, damping=0.01) -> np.ndarray:
    """Round weights to 255 steps so that the weighted sum of typical inputs hardly changes.

    With S the covariance, the error of a row is e S e^T, e being its rounding errors. Column by
    column, weights are rounded and the columns to come take over what they can of the error.

    Parameters
    ----------
    weights : (R, K) array
        Each row has a step of its own, its largest magnitude / 127; that weight stays as it is, so
        that the converter finds the same step.
    covariance : (K, K) array
        Of the inputs.
    damping : float
        Independent noise added to the inputs, as a share of their mean variance: keeps weights in
        place on which the inputs say little.

    Returns
    -------
    (R, K) float64
        Whole multiples of each row's step.

    Examples
    --------
    Inputs that are always alike: only the sum counts. Three of 0.4 are kept as one of 1.

    >>> gptq_round(np.array([[127, 0.4, 0.4, 0.4]]), np.ones((4, 4)))
    array([[127.,   0.,   1.,   0.]])
    """
    left = np.array(weights, np.float64)
    largest = np.abs(left).argmax(1)
    step = np.abs(left).max(1) / STEPS
    step[step == 0] = 1.0
    upper = _take_over(covariance, damping)
    rounded = np.empty_like(left)
    for k in range(left.shape[1]):
        whole = np.round(left[:, k] / step).clip(-STEPS, STEPS)
        whole = np.where(largest == k, STEPS * np.sign(weights[:, k]), whole)
        rounded[:, k] = whole * step
        error = (left[:, k] - rounded[:, k]) / upper[k, k]
        left[:, k:] -= error[:, None] * upper[k, k:]
    return rounded


def _take_over(covariance: np.ndarray, damping: float) -> np.ndarray:
    """Return U (K, K), upper triangular: U[k, j] / U[k, k] of k's error is for j to make up for.

    U^T U is the inverse of covariance plus noise. Its eigenvalues are used, since those of a
    measured covariance may come out a little below zero.
    """
    values, vectors = np.linalg.eigh(covariance)
    values = values.clip(0)
    noise = damping * values.mean()
    shares = values / noise if noise > np.finfo(np.float32).tiny else np.zeros_like(values)
    return np.linalg.cholesky((vectors / (shares + 1)) @ vectors.T).T
