"""Batch normalisation in one operation while training.

Keras spells batch normalisation out in a dozen operations and as many again for its gradient; in a
small network they take a third of a training step and much of the tracing. TensorFlow has the whole
in one operation. Layers and weights stay the model's own, and so does the mathematics.
"""

from __future__ import annotations

import keras


def fused(model: keras.Model) -> keras.Model:
    """Return a chain of layers as a model that shares them all, batch normalisation in one step.

    Parameters
    ----------
    model : keras.Model
        A chain: a detector, or its tail. Training the returned model trains this one.
    """
    x = model.input
    for layer in model.layers[1:]:
        is_norm = isinstance(layer, keras.layers.BatchNormalization)
        x = (FusedNorm(layer) if is_norm else layer)(x)
    return keras.Model(model.input, x, name=model.name)


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
