"""Layers as they train fastest; the layers and weights stay the model's own.

Keras spells batch normalisation out in a dozen operations and as many again for its gradient; in a
small network they take a third of a training step and much of the tracing. TensorFlow has the whole
in one operation, and the mathematics is the same.

What is left are products of matrices, in the 1x1 convolutions. Some processors multiply bfloat16,
numbers with the range of float32 and 8 bits of precision, twice as fast or more. Weights, sums and
everything else stay float32 (Micikevicius et al. 2018, arXiv 1710.03740; Kalamkar et al. 2019,
arXiv 1905.12322), and so does scoring.
"""

from __future__ import annotations

import re
from functools import lru_cache
from pathlib import Path

import keras

_FLAGS = r"\b(avx512_bf16|amx_bf16)\b"


@lru_cache(maxsize=1)
def multiplies_bfloat16(facts: Path = Path("/proc/cpuinfo")) -> bool:
    """Return whether the processor says that it multiplies bfloat16 by itself.

    Only Linux tells. Elsewhere the answer is no: without such instructions it is far slower.
    """
    return facts.is_file() and bool(re.search(_FLAGS, facts.read_text(encoding="utf-8")))


def fused(model: keras.Model, half: bool = False) -> keras.Model:
    """Return a chain of layers as a model that shares them all and trains faster.

    Parameters
    ----------
    model : keras.Model
        A chain: a detector, or its tail. Training the returned model trains this one.
    half : bool
        Multiply in bfloat16 in 1x1 convolutions.
    """
    x = model.input
    for layer in model.layers[1:]:
        x = _faster(layer, half)(x)
    return keras.Model(model.input, x, name=model.name)


def _faster(layer: keras.layers.Layer, half: bool) -> keras.layers.Layer:
    if isinstance(layer, keras.layers.BatchNormalization):
        return FusedNorm(layer)
    if half and type(layer) is keras.layers.Conv2D and layer.kernel_size == (1, 1):
        return HalfPointwise(layer)
    return layer


class FusedNorm(keras.layers.Layer):
    """A `keras.layers.BatchNormalization` over the last axis, trained by TensorFlow's fused kernel.

    Ioffe and Szegedy 2015, arXiv 1502.03167. As Keras does, the moving variance follows the
    variance of the batch itself; the kernel returns the unbiased estimate, which is scaled back.

    Parameters
    ----------
    norm : keras.layers.BatchNormalization
        Built; its weights are used and updated.
    """

    def __init__(self, norm: keras.layers.BatchNormalization):
        super().__init__(name=f"{norm.name}_fused")
        self.norm = norm

    def call(self, x, training=False):
        """Normalise (N, H, W, C)."""
        import tensorflow as tf

        norm = self.norm
        if not (training and norm.trainable):
            return norm(x, training=False)
        y, mean, variance, *_ = tf.raw_ops.FusedBatchNormV3(
            **{"x": x, "scale": norm.gamma, "offset": norm.beta, "mean": [], "variance": []},
            epsilon=norm.epsilon,
        )
        count = tf.cast(tf.size(x) // tf.shape(x)[-1], variance.dtype)
        for moving, now in (
            (norm.moving_mean, mean),
            (norm.moving_variance, variance * (count - 1) / count),
        ):
            moving.assign(moving * norm.momentum + now * (1 - norm.momentum))
        return y


class HalfPointwise(keras.layers.Layer):
    """A 1x1 convolution whose products are bfloat16 while training; weights stay float32.

    Parameters
    ----------
    conv : keras.layers.Conv2D
        Built, 1x1, without bias; its kernel is used and trained.

    Raises
    ------
    ValueError
        If it has a bias or a stride, as none in MobileNet has.
    """

    def __init__(self, conv: keras.layers.Conv2D):
        super().__init__(name=f"{conv.name}_half")
        if conv.use_bias or conv.strides != (1, 1):
            raise ValueError(f"{conv.name}: a bias or strides {conv.strides} are not foreseen")
        self.conv = conv

    def call(self, x, training=False):
        """Mix the channels of (N, H, W, C) float32; the answer is float32."""
        import tensorflow as tf

        if not training:
            return self.conv(x)
        x, kernel = (tf.cast(value, tf.bfloat16) for value in (x, self.conv.kernel))
        return tf.cast(tf.nn.conv2d(x, kernel, 1, "VALID"), tf.float32)
