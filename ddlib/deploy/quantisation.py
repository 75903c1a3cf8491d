"""Eight-bit weights that keep faint traces: rounded so that the errors of one filter cancel.

What tells a fake is a hundred times as weak as the picture it lies in. If each weight of a
high-pass filter is rounded on its own, the taps no longer add up to zero, and the picture leaks
through. So weights are rounded one after the other, and those to come compensate for the error as
far as the inputs of the layer allow (GPTQ: Frantar et al. 2022, arXiv 2210.17323); what is lost on
average goes into the bias (Nagel et al. 2019, arXiv 1906.04721). Notebook 09 measures what each
step is worth.

The first layers work on single pixels, where a step of 6/255 is as large as the traces: they stay
in floating point, as does the little that follows the pooling.
"""

import keras
import numpy as np

FLOAT_CONVOLUTIONS = 6  # a fifth of the multiply-adds at alpha 0.25, an eighth at 1
FLOAT = "float_"  # begins the names of layers that are not to be quantised
STEPS = 127  # on either side of zero
_CHUNK = 2  # images at once
_LARGE = 24  # cells a side; of larger maps every third row and column is enough
_CONVOLUTIONS = (keras.layers.Conv2D, keras.layers.DepthwiseConv2D)


def quantised_copy(model: keras.Model, images: np.ndarray) -> keras.Model:
    """Return a detector up to its logit, its weights rounded, ready to be converted to 8 bits.

    `model` is made by `ddlib.mobilenet.build_detector`; `images` (N, S, S, 3) uint8 are prepared.
    """
    missing = {"pool", "features", "logit"} - {layer.name for layer in model.layers}
    if missing:
        raise ValueError(
            f"model {model.name!r} has no layer {', '.join(sorted(missing))}: int8 is made of "
            "detectors by `build_detector` only; choose float32 or float16"
        )
    copy = fold_batch_norm(model)
    layers = layers_to_quantise(copy)
    for layer, (mean, covariance) in zip(layers, input_moments(copy, layers, images), strict=True):
        kernel, bias = layer.get_weights()
        rows = as_rows(layer, kernel)
        rounded = np.array([gptq_round(*part) for part in zip(rows, covariance, strict=True)])
        lost = np.einsum("grk,gk->gr", rows - rounded, mean).ravel()
        layer.set_weights([as_kernel(layer, rounded), bias + lost])
    return copy


def layers_to_quantise(copy: keras.Model) -> list:
    """Return the layers whose weights are kept in 8 bits, from input to output."""
    convolutions = (layer for layer in copy.layers if isinstance(layer, _CONVOLUTIONS))
    return [layer for layer in convolutions if not layer.name.startswith(FLOAT)]


def fold_batch_norm(model: keras.Model, float_convolutions=FLOAT_CONVOLUTIONS) -> keras.Model:
    """Return the same function up to the logit, with fewer kinds of layers.

    Batch normalisation goes into the convolution before it. The dense layer "features" goes before
    the pooling, as a 1 x 1 convolution, so that its rounding errors average out. The names of the
    first `float_convolutions` convolutions and of all after the pooling begin with `FLOAT`.
    """
    x = image = keras.Input(model.input_shape[1:], name="image")
    convolutions = 0
    for layer, following in zip(model.layers[1:], model.layers[2:], strict=False):
        if layer.name == "pool":
            break
        if isinstance(layer, keras.layers.BatchNormalization):
            continue
        convolutions += isinstance(layer, _CONVOLUTIONS)
        name = (FLOAT if convolutions <= float_convolutions else "") + layer.name
        x = _with_norm(layer, following, name)(x)
    kernel, bias = model.get_layer("features").get_weights()
    features = keras.layers.Conv2D(len(bias), 1, name="features")
    x = keras.layers.GlobalAveragePooling2D(name=f"{FLOAT}pool")(features(x))
    x = keras.layers.ReLU(name=f"{FLOAT}relu")(x)
    logit = keras.layers.Dense(1, name=f"{FLOAT}logit")
    copy = keras.Model(image, logit(x), name="quantised")
    features.set_weights([kernel[None, None], bias])
    logit.set_weights(model.get_layer("logit").get_weights())
    return copy


def _with_norm(layer, norm, name: str):
    """Return a copy of a layer; that of a convolution includes the batch normalisation after it."""
    config = layer.get_config() | {"name": name}
    if not isinstance(layer, _CONVOLUTIONS):
        return type(layer).from_config(config)
    copy = type(layer).from_config(config | {"use_bias": True})
    copy.build(layer.input.shape)
    gamma, beta, mean, variance = (weight.astype(np.float64) for weight in norm.get_weights())
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
    probe = keras.Model(model.input, {layer.name: layer.input for layer in layers})
    sums = [[0, 0.0, 0.0] for _ in layers]  # patches, sum, sum of products
    for start in range(0, len(images), _CHUNK):
        inputs = probe(images[start : start + _CHUNK].astype("float32"), training=False)
        for layer, total in zip(layers, sums, strict=True):
            patches = _patches(layer, inputs[layer.name]).astype(np.float64)
            total[0] += patches.shape[1]
            total[1] += patches.sum(1)
            total[2] += patches.transpose(0, 2, 1) @ patches
    moments = []
    for n, total, products in sums:
        mean = total / n
        moments.append((mean, products / n - mean[:, :, None] * mean[:, None, :]))
    return moments


def _patches(layer, x) -> np.ndarray:
    """Return patches of (N, H, W, C) that a convolution weighs: (G, places, K)."""
    side, step = layer.kernel_size[0], layer.strides[0]
    step *= 3 if x.shape[1] > _LARGE else 1
    margin = side // 2 if layer.padding == "same" else 0
    x = np.pad(keras.ops.convert_to_numpy(x), ((0, 0), (margin,) * 2, (margin,) * 2, (0, 0)))
    windows = np.lib.stride_tricks.sliding_window_view(x, (side, side), axis=(1, 2))
    patches = windows[:, ::step, ::step].transpose(0, 1, 2, 4, 5, 3)  # (N, h, w, k, k, C)
    if isinstance(layer, keras.layers.DepthwiseConv2D):
        return patches.reshape(-1, side * side, x.shape[-1]).transpose(2, 0, 1)
    return patches.reshape(1, -1, side * side * x.shape[-1])


def as_rows(layer, kernel: np.ndarray) -> np.ndarray:
    """Return a kernel as (G, R, K): R output channels of each of G groups, K weights each."""
    if isinstance(layer, keras.layers.DepthwiseConv2D):
        return kernel.reshape(-1, kernel.shape[2]).T[:, None]
    return kernel.reshape(-1, kernel.shape[3]).T[None]


def as_kernel(layer, rows: np.ndarray) -> np.ndarray:
    """Return the kernel that `as_rows` took apart."""
    return rows.reshape(-1, rows.shape[-1]).T.reshape(layer.kernel.shape)


def gptq_round(weights: np.ndarray, covariance: np.ndarray) -> np.ndarray:
    """Round weights (R, K) to 255 steps so that the weighted sum of typical inputs hardly changes.

    With S the covariance (K, K) of the inputs, the error of a row is e S e^T, e being its rounding
    errors. Column by column, weights are rounded and the columns to come take over what they can of
    the error; with the identity as covariance each is rounded to the nearest step. Each row has a
    step of its own, its largest magnitude / 127; that weight stays, so that the converter finds the
    same step.

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
    # independent noise added to the inputs keeps weights in place on which inputs say little
    noise = 0.01 * np.trace(covariance) / len(covariance)
    noise = noise if noise > np.finfo(np.float32).tiny else 1.0  # inputs that never change
    inverse = np.linalg.inv(covariance + noise * np.eye(len(covariance)))
    take_over = np.linalg.cholesky(inverse).T  # [k, j] / [k, k]: of the error of k what j takes
    rounded = np.empty_like(left)
    for k in range(left.shape[1]):
        whole = np.round(left[:, k] / step).clip(-STEPS, STEPS)
        whole = np.where(largest == k, STEPS * np.sign(weights[:, k]), whole)
        rounded[:, k] = whole * step
        error = (left[:, k] - rounded[:, k]) / take_over[k, k]
        left[:, k:] -= error[:, None] * take_over[k, k:]
    return rounded
