"""Grad-CAM: where in an image a detector finds evidence for "fake" or for "real".

For a layer with activations ``A`` (h, w, K) and the logit ``y`` of the class asked for,

    alpha_k = mean over the h x w cells of dy/dA_k            (equation 1)
    map = relu(sum_k alpha_k A_k)                             (equation 2)

(Selvaraju et al. 2017, arXiv 1610.02391). With one sigmoid unit the class is a sign, ``+logit`` for
fake and ``-logit`` for real; the argmax over one unit, which the study took, is always 0. A map may
be all zero, "nothing here speaks for this class". All layers come from one forward and one backward
pass.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import tensorflow as tf

from ddlib.data.loader import prepare
from ddlib.images.overlay import mean_map, normalise, upsample
from ddlib.images.read import read_images, resize
from ddlib.metrics.calibration import probability
from ddlib.models.layer_outputs import LayerOutputs, check_finite, spatial_layers
from ddlib.protocol import check_choice

SIGNS = {"fake": 1, "real": -1}
MEAN = "mean"
ALL = "all"


@dataclass(frozen=True, eq=False)
class HeatMaps:
    """Grad-CAM maps of N images at one layer."""

    heat: np.ndarray  # (N, h, w) in [0, 1]: each map divided by its own maximum, or all zeros
    has_evidence: np.ndarray  # (N,) bool: whether any cell speaks for the target class
    raw: np.ndarray  # (N, h, w) before the division, >= 0, logits per cell; for "mean" of the heat
    logits: np.ndarray  # (N,) of "fake", whatever the target
    scores: np.ndarray  # (N,) P(fake), the sigmoid of the logits, not calibrated
    target: str  # "fake" or "real"
    layer: str  # its name, or "mean"


class GradCAM:
    """Grad-CAM of a binary detector, built once and called often.

    Parameters
    ----------
    model : keras.Model, or an object with a method ``keras_model()`` such as a detector
        One image input, one or two output units (`ddlib.models.layer_outputs`). It is not changed.
    layers : sequence of str, optional
        Layers to explain, with (N, h, w, K) outputs; by default all convolutions.
    positive : {"fake", "real"}
        What label 1 meant in training. ``keras.utils.image_dataset_from_directory`` sorts folders
        by name: without ``class_names=["real", "fake"]`` the output is P(real), hence "real".
    batch_size : int
        Images per pass; with all layers of MobileNet each of 256 pixels needs about 60 MB.

    Its attribute ``layers`` is a dict name -> (h, w) of its maps, from input to output.

    Examples
    --------
    >>> cam = GradCAM(model)                                               # doctest: +SKIP
    >>> maps = cam("face.jpg", target="fake", layer="mean")                # doctest: +SKIP
    """

    def __init__(
        self,
        model,
        layers: Sequence[str] | None = None,
        positive: str = "fake",
        batch_size: int = 8,
    ):
        check_choice("positive", positive, SIGNS)
        self._model = LayerOutputs(model.keras_model() if hasattr(model, "keras_model") else model)
        self._protocol = getattr(model, "protocol", None)
        self._sign = SIGNS[positive]
        self._batch_size = batch_size
        self._traced = {}
        self.layers = spatial_layers(self._model.layers, layers)

    def __call__(
        self, images, target: str = "fake", layer: str | None = None, size=None
    ) -> HeatMaps | dict[str, HeatMaps]:
        """Explain one image or many. The first call is slower, because it traces the passes.

        Parameters
        ----------
        images : array (N, H, W, C) or (H, W, C), or anything that `list_sources` takes
            Arrays of the model's size are used as they are; others are prepared by the detector's
            protocol, or resized where there is none.
        target : {"fake", "real"}
            The class whose evidence is mapped.
        layer : str, optional
            One of `layers`, by default the last; "mean" for the mean over all of them, each map
            divided by its maximum and resized to the image; "all" for every layer and the mean.
        size : int or (int, int), optional
            Height and width of `heat`. By default the layer's own; the images' for "mean".

        Returns
        -------
        HeatMaps
            Of N images (1 for a single one); for "all" a dictionary name -> HeatMaps. No images, or
            a value that is NaN or infinite, is a ValueError.
        """
        check_choice("target", target, SIGNS)
        names, last = tuple(self.layers), list(self.layers)[-1]
        layer = last if layer is None else layer
        check_choice("layer", layer, (*names, MEAN, ALL))
        images = self._as_batch(images)
        evidence, logits = self._explain(images, (last,) if layer == last else names)
        # Pixels too: a ReLU turns NaN into 0, and the map would look sound.
        check_finite({"pixels": images, "logit": logits} | evidence)
        raw = {name: np.maximum(SIGNS[target] * part, 0) for name, part in evidence.items()}  # relu
        if layer in (MEAN, ALL):
            raw[MEAN] = mean_map([normalise(part)[0] for part in raw.values()], images.shape[1:3])
        scores = probability(logits).astype(np.float32)
        maps = {}
        for name in raw if layer == ALL else [layer]:
            heat, has_evidence = normalise(raw[name])
            heat = heat if size is None else upsample(heat, size)
            maps[name] = HeatMaps(heat, has_evidence, raw[name], logits, scores, target, name)
        return maps if layer == ALL else maps[layer]

    def activations_and_gradients(self, images, names: Sequence[str]):
        """Return A and dy/dA of the named layers, (N, h, w, K) each, and the logits y (N,).

        y is the logit of "fake". That of "real" is -y, and so its gradients are the negative ones.
        """
        images = tf.convert_to_tensor(images, tf.float32)
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(images)
            activations, logits = self._model.run(images, names)
            logits = self._sign * logits[:, 0]
            # Images do not influence each other, so the gradient of the sum is each one's own.
            total = tf.reduce_sum(logits)
        gradients = tape.gradient(total, activations, unconnected_gradients="zero")
        return activations, gradients, logits

    def weights(self, gradients):
        """Return alpha (N, K), the mean of the gradients over all cells: equation 1."""
        return tf.reduce_mean(gradients, axis=(1, 2))

    def weighted_sum(self, activations, weights):
        """Return sum_k alpha_k A_k (N, h, w), the signed evidence: equation 2 before the ReLU."""
        return tf.einsum("nhwk,nk->nhw", activations, weights)

    def _explain(self, images, names: tuple[str, ...]) -> tuple[dict[str, np.ndarray], np.ndarray]:
        """Return the signed evidence for "fake" of each layer (N, h, w) and the logits (N,)."""

        def run(images):
            activations, gradients, logits = self.activations_and_gradients(images, names)
            pairs = zip(activations, gradients, strict=True)
            evidence = [self.weighted_sum(a, self.weights(gradient)) for a, gradient in pairs]
            return [tf.cast(values, tf.float32) for values in [*evidence, logits]]

        if names not in self._traced:
            shape = tf.TensorSpec(self._model.input_shape, tf.float32)  # any number of them
            self._traced[names] = tf.function(run, input_signature=[shape]).get_concrete_function()
        chunks = []
        for start in range(0, len(images), self._batch_size):
            chunk = np.asarray(images[start : start + self._batch_size], np.float32)
            chunks.append([part.numpy() for part in self._traced[names](tf.constant(chunk))])
        *evidence, logits = (np.concatenate(parts) for parts in zip(*chunks, strict=True))
        return dict(zip(names, evidence, strict=True)), logits

    def _as_batch(self, images) -> np.ndarray:
        """Return one array (N, H, W, C) of images as the model takes them."""
        if len(getattr(images, "shape", ())) in (3, 4) and self._fits(images):
            prepared = self._protocol is not None and np.asarray(images).dtype.kind == "f"
            if prepared and 0 < (highest := np.max(images)) <= 1:
                raise ValueError(
                    f"pixels of up to {highest:.3g}, but this detector takes 0 to 255: "
                    "multiply them by 255"
                )
            return images if len(images.shape) == 4 else images[None]
        found, side = read_images(images), self._model.input_shape[1]
        if self._protocol is not None:
            batch = np.stack([prepare(image, self._protocol) for image in found])
        else:
            batch = np.stack([x if self._fits(x) else resize(x, side) for x in found])
        if not self._fits(batch):
            raise ValueError(
                f"the model takes images (H, W, C) of {self._model.input_shape[1:]} and these are "
                f"{batch.shape[1:]}: give it arrays of its own shape"
            )
        return batch

    def _fits(self, images) -> bool:
        pairs = zip(self._model.input_shape[1:], images.shape[-3:], strict=True)
        return len(images) > 0 and all(wanted in (None, given) for wanted, given in pairs)
