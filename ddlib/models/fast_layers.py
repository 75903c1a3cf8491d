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
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path

import keras

from ddlib.models.inference import has_gpu


class FusedAdam(keras.optimizers.Adam):
    """Adam (Kingma and Ba 2015) whose update is one TensorFlow operation a weight, not twelve.

    The mathematics is Keras's. A small network has as many weights as a large one, and spends a
    tenth of each step and a quarter of its tracing on these.
    """

    def apply(self, grads, trainable_variables=None):
        """Update all weights; what is the same for all is computed once."""
        import tensorflow as tf

        step = tf.cast(self.iterations + 1, tf.float32)
        betas = {"beta1": tf.constant(self.beta_1), "beta2": tf.constant(self.beta_2)}
        powers = {f"{name}_power": tf.pow(beta, step) for name, beta in betas.items()}
        self._shared = {**betas, **powers, "epsilon": tf.constant(self.epsilon)}
        super().apply(grads, trainable_variables)

    def update_step(self, gradient, variable, learning_rate):
        """Update one weight and its two moments."""
        import tensorflow as tf

        index = self._get_variable_index(variable)
        tf.raw_ops.ResourceApplyAdam(
            **{"var": variable.handle, "grad": gradient, "lr": learning_rate},
            m=self._momentums[index].value.handle,
            v=self._velocities[index].value.handle,
            **self._shared,
        )


_FLAGS = r"\b(avx512_bf16|amx_bf16)\b"


@lru_cache(maxsize=1)
def multiplies_bfloat16(facts: Path = Path("/proc/cpuinfo")) -> bool:
    """Return whether the processor says that it multiplies bfloat16 by itself.

    Only Linux tells. Elsewhere the answer is no: without such instructions it is far slower.
    """
    return facts.is_file() and bool(re.search(_FLAGS, facts.read_text(encoding="utf-8")))


@contextmanager
def without_graph_rewriting() -> Iterator[None]:
    """Let TensorFlow run graphs as they are written, not rewrite them first.

    Rewriting the graph of a training step takes half a second for each model and gains nothing that
    `with_fast_layers` has not gained. On a GPU it also puts channels first, so there it stays.
    """
    import tensorflow as tf

    if has_gpu():
        yield
        return
    name = "disable_meta_optimizer"
    before = tf.config.optimizer.get_experimental_options().get(name, False)
    tf.config.optimizer.set_experimental_options({name: True})
    try:
        yield
    finally:
        tf.config.optimizer.set_experimental_options({name: before})


def with_fast_layers(model: keras.Model, half: bool = False) -> keras.Model:
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
    if isinstance(layer, keras.layers.BatchNormalization) and layer.trainable:
        return FusedNorm(layer)
    if half and type(layer) is keras.layers.Conv2D and layer.kernel_size == (1, 1):
        return BFloat16Pointwise(layer)
    return layer


class FusedNorm(keras.layers.Layer):
    """A `keras.layers.BatchNormalization` over the last axis, trained by TensorFlow's fused kernel.

    Ioffe and Szegedy 2015, arXiv 1502.03167. As Keras does, the moving variance follows the
    variance of the batch itself; the kernel returns the unbiased estimate, which is scaled back.

    Parameters
    ----------
    norm : keras.layers.BatchNormalization
        Built and trainable; its weights are used and updated.
    """

    def __init__(self, norm: keras.layers.BatchNormalization):
        super().__init__(name=f"{norm.name}_fused")
        self.norm = norm

    def call(self, x, training=False):
        """Normalise (N, H, W, C)."""
        norm = self.norm
        if not training:
            return self._kernel(x, norm.moving_mean.value, norm.moving_variance.value)[0]
        y, mean, variance, *_ = self._kernel(x)
        self._follow(norm.moving_mean.value, mean)
        self._follow(norm.moving_variance.value, variance - variance / self._count(x))
        return y

    def compute_output_shape(self, input_shape):
        """Tell Keras, which would else run `call` to find out."""
        return input_shape

    def _kernel(self, x, *known):
        import tensorflow as tf

        mean, variance = known or ([], [])
        given = {"scale": self.norm.gamma.value, "offset": self.norm.beta.value}
        return tf.raw_ops.FusedBatchNormV3(
            **{"x": x, **given, "mean": mean, "variance": variance},
            **{"epsilon": self.norm.epsilon, "is_training": not known},
        )

    def _count(self, x):
        """Return how many numbers a channel has in this batch."""
        import tensorflow as tf

        return tf.cast(tf.size(x), tf.float32) / x.shape[-1]

    def _follow(self, moving, now) -> None:
        moving.assign_sub((moving - now) * (1 - self.norm.momentum))


class BFloat16Pointwise(keras.layers.Layer):
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

    def compute_output_shape(self, input_shape):
        """Tell Keras, which would else run `call` to find out."""
        return (*input_shape[:-1], self.conv.filters)

    def call(self, x, training=False):
        """Mix the channels of (N, H, W, C) float32; the answer is float32."""
        import tensorflow as tf

        if not training:
            return self.conv(x)
        given, answers = self.conv.kernel.shape[2:]
        kernel = tf.cast(tf.reshape(self.conv.kernel.value, (given, answers)), tf.bfloat16)
        rows = tf.cast(tf.reshape(x, (-1, given)), tf.bfloat16)
        mixed = tf.cast(rows @ kernel, tf.float32)
        return tf.reshape(mixed, (-1, *x.shape[1:3], answers))
