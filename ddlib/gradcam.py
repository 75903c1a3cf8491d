"""Grad-CAM: where in the picture the evidence for "fake" or for "real" lies.

For a layer with activations ``A`` (h, w, K) and the signed logit ``y`` of the class asked for,

    alpha_k = mean over the h x w cells of dy/dA_k,      map = relu(sum_k alpha_k A_k)

(Selvaraju et al. 2017, equations 1 and 2). Two things are easy to get wrong with a detector that
ends in one sigmoid unit. The class must be a sign, ``+logit`` for fake and ``-logit`` for real: the
argmax of one unit is always 0. And a map may be empty, which is an answer ("nothing here speaks for
this class") and not a division by zero.

Every layer comes from one forward and one backward pass through one model with many outputs.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import keras
import numpy as np
import tensorflow as tf

from ddlib.images.overlay import mean_map, normalise, upsample
from ddlib.metrics.calibration import probability
from ddlib.models.layer_outputs import expose

SIGNS = {"fake": 1.0, "real": -1.0}


MEAN = "mean"


CONVOLUTIONS = (keras.layers.Conv2D, keras.layers.DepthwiseConv2D, keras.layers.SeparableConv2D)


class GradCAM:
    """Grad-CAM of a binary detector, built once and called often.

    The model is any functional or Sequential Keras model with one image input, nested backbones
    included, that ends in one unit or in two (real, fake), with or without a sigmoid or softmax.
    It is not changed; later changes of its weights are seen. The first call is slower (tracing).

    Parameters
    ----------
    model : keras.Model
    layers : sequence of str, optional
        Layers to explain, any with an (N, h, w, K) output. By default those of `conv_layers`.
    batch_size : int
        Images per pass; 16 images of 256 pixels need about 1 GB with all layers of MobileNet.

    Attributes
    ----------
    layers : dict
        Name -> (h, w) of its maps, from input to output.

    Raises
    ------
    ValueError
        If the model has no usable layer or head, or a layer is unknown.

    Examples
    --------
    >>> cam = GradCAM(detector)                                            # doctest: +SKIP
    >>> maps = cam.maps(images, target="fake", layer="mean")              # doctest: +SKIP
    >>> picture = overlay(images[0], maps.heat[0])                         # doctest: +SKIP
    """

    def __init__(self, model, layers: Sequence[str] | None = None, batch_size: int = 16):
        image, inside, logit = expose(model)
        outputs = {name: inside[name][1] for name in _choose(inside, layers)}
        self.batch_size = batch_size
        self.layers = {name: tuple(y.shape[1:3]) for name, y in outputs.items()}
        self.input_shape = tuple(image.shape[1:])
        self._model = keras.Model(image, [*outputs.values(), logit])
        self._compiled = {}

    def maps(self, images, target: str = "fake", layer: str | None = None, size=None) -> HeatMaps:
        """Explain N images at one layer or averaged over all.

        Parameters
        ----------
        images : array, (N, H, W, 3), any numeric type
            Raw pixels as the model takes them.
        target : {"fake", "real"}
            The class whose evidence is mapped.
        layer : str, optional
            One of `layers`, or "mean": each layer's map is divided by its maximum, resized to the
            images' size and averaged over the layers (empty maps count as zeros). By default the
            last convolution, which costs little more than a forward pass.
        size : int or (int, int), optional
            Height and width of `heat`. By default the layer's own; the images' for "mean".

        Raises
        ------
        ValueError
            If the target, the layer or the images' shape is wrong, or the model yields NaN.
        """
        last = list(self.layers)[-1]
        layer = last if layer is None else layer
        if layer != MEAN and layer not in self.layers:
            known = ", ".join([*self.layers, MEAN])
            raise ValueError(f"layer={layer!r} is not explained here; choose from {known}")
        names = [last] if layer == last else list(self.layers)
        return self._explain(images, target, names, [layer], size)[layer]

    def all_maps(self, images, target: str = "fake", size=None) -> dict[str, HeatMaps]:
        """Explain N images at every layer and averaged, from one forward and one backward pass.

        Returns
        -------
        dict
            Layer name -> `HeatMaps`, from input to output, then "mean". See `maps`.
        """
        names = list(self.layers)
        return self._explain(images, target, names, [*names, MEAN], size)

    def logits(self, images) -> np.ndarray:
        """Return the logit of "fake" of N images, (N,) float32, by a forward pass alone."""
        return np.concatenate([logits for _, logits in self._passes(self._checked(images), [])])

    def _explain(self, images, target, names, wanted, size) -> dict[str, HeatMaps]:
        if target not in SIGNS:
            raise ValueError(f"target={target!r} is not known; choose from {', '.join(SIGNS)}")
        images = self._checked(images)
        raws, logits = {name: [] for name in wanted}, []
        for evidence, chunk_logits in self._passes(images, names):
            raw = {name: np.maximum(SIGNS[target] * evidence[name], 0) for name in names}
            if MEAN in wanted:
                raw[MEAN] = mean_map([normalise(raw[name])[0] for name in names], images.shape[1:3])
            for name in wanted:
                raws[name].append(raw[name])
            logits.append(chunk_logits)
        logits = np.concatenate(logits)
        scores = probability(logits).astype(np.float32)
        found = {}
        for name in wanted:
            raw = np.concatenate(raws[name])
            found[name] = HeatMaps(*normalise(raw), raw, logits, scores, target, name)
        return found if size is None else {k: maps.upsampled(size) for k, maps in found.items()}

    def _passes(self, images, names) -> Iterator[tuple[dict[str, np.ndarray], np.ndarray]]:
        """Yield, chunk by chunk, each layer's signed evidence for "fake" and the logits."""
        run = self._compile(tuple(names))
        for start in range(0, len(images), self.batch_size):
            chunk = np.asarray(images[start : start + self.batch_size], np.float32)
            *evidence, logits = (part.numpy() for part in run(tf.constant(chunk)))
            found = dict(zip(names, evidence, strict=True))
            # Pixels too: a ReLU turns NaN into 0, and the map would look sound.
            for name, values in {"pixels": chunk, "logit": logits, **found}.items():
                bad = ~np.isfinite(values).reshape(len(chunk), -1).all(1)
                if bad.any():
                    raise ValueError(
                        f"image {start + int(bad.argmax())}: {name} is not finite; "
                        "look for NaN or overflow in its pixels and in the model's weights"
                    )
            yield found, logits

    def _compile(self, names: tuple[str, ...]):
        """Return the traced passes for some layers; the batch size stays open: one trace."""
        if names not in self._compiled:
            wanted = [list(self.layers).index(name) for name in names]
            signature = [tf.TensorSpec((None, *self.input_shape), tf.float32)]

            def run(images):
                with tf.GradientTape(watch_accessed_variables=False) as tape:
                    tape.watch(images)
                    *outputs, logits = self._model(images, training=False)
                    # Images do not influence each other, so the sum's gradient is each one's own.
                    total = tf.reduce_sum(logits)
                maps = [outputs[index] for index in wanted]
                slopes = tape.gradient(total, maps, unconnected_gradients="zero") if maps else []
                evidence = [
                    tf.einsum("nhwk,nk->nhw", a, tf.reduce_mean(slope, (1, 2)))
                    for a, slope in zip(maps, slopes, strict=True)
                ]
                return [*(tf.cast(values, tf.float32) for values in evidence), logits]

            traced = tf.function(run, input_signature=signature)
            self._compiled[names] = traced.get_concrete_function()
        return self._compiled[names]

    def _checked(self, images):
        images = images if hasattr(images, "shape") else np.asarray(images)
        pairs = zip((None, *self.input_shape), images.shape, strict=False)
        if len(images.shape) != 4 or any(want not in (None, got) for want, got in pairs):
            hint = "; write image[None] for a single image" if len(images.shape) == 3 else ""
            raise ValueError(
                f"images of shape {tuple(images.shape)} do not fit this model, "
                f"which takes (N, {', '.join(map(str, self.input_shape))}){hint}"
            )
        if not len(images):
            raise ValueError("there are no images to explain: the array is empty")
        return images


def conv_layers(model: keras.Model) -> list[str]:
    """Return the names of a model's convolution layers, from input to output.

    These are Conv2D, DepthwiseConv2D and SeparableConv2D layers (27 in MobileNet V1), those of
    nested models included; a name that occurs again gets a number ("conv", then "conv_2"). A layer
    whose output is a single cell (squeeze and excitation) is left out: it has no place to show.
    """
    return _choose(expose(model).layers, None)


def _choose(inside, layers) -> list[str]:
    """Return the layers asked for, or all convolutions, in the order of the computation."""
    spatial = {
        name: layer
        for name, (layer, y) in inside.items()
        if len(y.shape) == 4 and tuple(y.shape[1:3]) != (1, 1)
    }
    if layers is None:
        layers = [name for name, layer in spatial.items() if isinstance(layer, CONVOLUTIONS)]
    unknown = [name for name in layers if name not in spatial]
    if unknown or not layers:
        raise ValueError(
            f"no layer to explain: {unknown or list(layers)}; it must have an (N, h, w, K) output, "
            f"as have {', '.join(spatial) or 'none here'}"
        )
    return [name for name in spatial if name in layers]


@dataclass(frozen=True, eq=False)
class HeatMaps:
    """Grad-CAM maps of N images.

    Attributes
    ----------
    heat : ndarray, (N, h, w) float32
        Each map divided by its own maximum, in [0, 1]; all zeros where `positive` is False.
    positive : ndarray, (N,) bool
        Whether any cell speaks for the target class. False is a finding, not a failure.
    raw : ndarray, (N, h, w) float32
        The map before the division, >= 0, at the layer's own resolution (in logits per cell, so
        that images can be compared). For the mean map, the mean before its last division.
    logits, scores : ndarray, (N,) float32
        The logit of "fake" and P(fake), whatever the target.
    target : {"fake", "real"}
    layer : str
        The layer's name, or "mean".
    """

    heat: np.ndarray
    positive: np.ndarray
    raw: np.ndarray
    logits: np.ndarray
    scores: np.ndarray
    target: str
    layer: str

    def __len__(self):
        return len(self.heat)

    def upsampled(self, size) -> HeatMaps:
        """Return the same maps with `heat` at another size, as `upsample` makes it."""
        return dataclasses.replace(self, heat=upsample(self.heat, size))
