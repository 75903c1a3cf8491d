"""Grad-CAM: where in an image a detector finds evidence for "fake" or for "real".

For a layer with activations ``A`` (h, w, K) and the logit ``y`` of the class asked for,

    alpha_k = mean over the h x w cells of dy/dA_k            (equation 1)
    map = relu(sum_k alpha_k A_k)                             (equation 2)

(Selvaraju et al. 2017, arXiv 1610.02391). A detector that ends in one sigmoid unit needs care in
two places. The class is a sign, ``+logit`` for fake and ``-logit`` for real: the argmax of one unit
is always 0. And a map may be all zero: "nothing here speaks for this class" is an answer, and its
maximum must not be divided by.

All layers come from one forward and one backward pass.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import keras
import numpy as np
import tensorflow as tf
from PIL import Image
from scipy.special import expit

from ddlib.data.loader import prepare
from ddlib.images.overlay import mean_map, normalise, upsample
from ddlib.images.read import read_images
from ddlib.models.layer_outputs import expose

SIGNS = {"fake": 1, "real": -1}
MEAN = "mean"
ALL = "all"
CONVOLUTIONS = (keras.layers.Conv2D, keras.layers.DepthwiseConv2D, keras.layers.SeparableConv2D)


@dataclass(frozen=True, eq=False)
class HeatMaps:
    """Grad-CAM maps of N images at one layer.

    Attributes
    ----------
    heat : ndarray, (N, h, w) float32
        Each map divided by its own maximum, in [0, 1]; all zeros where `has_evidence` is False.
    has_evidence : ndarray, (N,) bool
        Whether any cell speaks for the target class.
    raw : ndarray, (N, h, w) float32
        The maps before the division, >= 0, in logits per cell, comparable between images. For the
        mean over layers, the mean of the divided maps.
    logits, scores : ndarray, (N,) float32
        The logit of "fake" and its sigmoid P(fake), not calibrated, whatever the target.
    target : {"fake", "real"}
    layer : str
        The layer's name, or "mean".
    """

    heat: np.ndarray
    has_evidence: np.ndarray
    raw: np.ndarray
    logits: np.ndarray
    scores: np.ndarray
    target: str
    layer: str

    def __len__(self):
        return len(self.heat)


class GradCAM:
    """Grad-CAM of a binary detector, built once and called often.

    Parameters
    ----------
    model : keras.Model, or an object with a method ``keras_model()`` such as a detector
        Functional or Sequential, nested backbones included, with one image input and one or two
        output units (see `ddlib.models.layer_outputs.expose`). It is not changed; later changes of
        its weights are seen.
    layers : sequence of str, optional
        Layers to explain, any with an (N, h, w, K) output. By default all convolutions whose output
        has more than one cell (27 in MobileNet V1).
    positive : {"fake", "real"}
        What label 1 meant in training. ``keras.utils.image_dataset_from_directory`` sorts folders
        by name: without ``class_names=["real", "fake"]`` label 1, and so the output, is "real".
    batch_size : int
        Images per pass; 16 images of 256 pixels need about 1 GB with all layers of MobileNet.

    Attributes
    ----------
    layers : dict
        Name -> (h, w) of its maps (None where it follows the image), from input to output.

    Raises
    ------
    ValueError
        If the model has no usable layer or head, or an argument is not as above.

    Examples
    --------
    >>> cam = GradCAM(model)                                               # doctest: +SKIP
    >>> maps = cam("face.jpg", target="fake", layer="mean")                # doctest: +SKIP
    >>> overlay(read_image("face.jpg"), maps.heat[0])                      # doctest: +SKIP
    """

    def __init__(
        self,
        model,
        layers: Sequence[str] | None = None,
        positive: str = "fake",
        batch_size: int = 16,
    ):
        if positive not in SIGNS:
            raise ValueError(f"positive={positive!r} is not known; choose from {', '.join(SIGNS)}")
        if batch_size < 1:
            raise ValueError(f"batch_size={batch_size!r} is out of range; allowed is 1 or more")
        self._model = expose(model.keras_model() if hasattr(model, "keras_model") else model)
        self._protocol = getattr(model, "protocol", None)
        self._sign = SIGNS[positive]
        self._batch_size = batch_size
        self._traced = {}
        self.layers = _choose_layers(self._model.layers, layers)

    def __call__(
        self, images, target: str = "fake", layer: str | None = None, size=None
    ) -> HeatMaps | dict[str, HeatMaps]:
        """Explain one image or many. The first call is slower, because it traces the passes.

        Parameters
        ----------
        images : array (N, H, W, C) or (H, W, C), or anything that `read_images` takes
            Arrays of the model's size are used as they are. Other images are prepared first: as
            the protocol says if the model is a detector that has one, else resized.
        target : {"fake", "real"}
            The class whose evidence is mapped.
        layer : str, optional
            One of `layers`; "mean" for the mean over all of them, each map divided by its maximum
            and resized to the image; "all" for every layer and the mean. By default the last layer,
            which costs little more than a forward pass.
        size : int or (int, int), optional
            Height and width of `heat`. By default the layer's own; the images' for "mean".

        Returns
        -------
        HeatMaps
            Of N images (1 for a single one); for "all" a dictionary name -> HeatMaps.

        Raises
        ------
        ValueError
            If an argument is not as above, there are no images, or a value is NaN or infinite.
        """
        if target not in SIGNS:
            raise ValueError(f"target={target!r} is not known; choose from {', '.join(SIGNS)}")
        names, last = tuple(self.layers), list(self.layers)[-1]
        layer = last if layer is None else layer
        if layer not in (*names, MEAN, ALL):
            known = ", ".join([*names, MEAN, ALL])
            raise ValueError(f"layer={layer!r} is not explained here; choose from {known}")
        images = self._as_batch(images)
        evidence, logits = self._explain(images, (last,) if layer == last else names)
        raw = {name: np.maximum(SIGNS[target] * part, 0) for name, part in evidence.items()}  # relu
        if layer in (MEAN, ALL):
            raw[MEAN] = mean_map([normalise(part)[0] for part in raw.values()], images.shape[1:3])
        scores = expit(logits.astype(np.float64)).astype(np.float32)
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
            activations, logits = self._model(images, names)
            logits = self._sign * logits
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
        if names not in self._traced:

            def run(images):
                activations, gradients, logits = self.activations_and_gradients(images, names)
                pairs = zip(activations, gradients, strict=True)
                evidence = [self.weighted_sum(a, self.weights(gradient)) for a, gradient in pairs]
                return [tf.cast(values, tf.float32) for values in [*evidence, logits]]

            shape = tf.TensorSpec((None, *self._model.input_shape), tf.float32)  # any number
            self._traced[names] = tf.function(run, input_signature=[shape]).get_concrete_function()
        chunks = []
        for start in range(0, len(images), self._batch_size):
            chunk = np.asarray(images[start : start + self._batch_size], np.float32)
            arrays = [part.numpy() for part in self._traced[names](tf.constant(chunk))]
            _check_finite(start, ["pixels", "logit"], [chunk, arrays[-1]])
            _check_finite(start, names, arrays[:-1])
            chunks.append(arrays)
        *evidence, logits = (np.concatenate(parts) for parts in zip(*chunks, strict=True))
        return dict(zip(names, evidence, strict=True)), logits

    def _as_batch(self, images):
        """Return one array (N, H, W, C) of images as the model takes them."""
        shape = getattr(images, "shape", ())
        if len(shape) in (3, 4):
            if self._fits(images) and len(images):
                return images if len(shape) == 4 else images[None]
            if len(images) and images.dtype != np.uint8:
                raise ValueError(
                    f"{images.dtype} images of shape {tuple(shape)} do not fit this model, which "
                    f"takes (N, {', '.join(map(str, self._model.input_shape))}); resize them, or "
                    "pass uint8 images (H, W, 3) or files, which are resized here"
                )
        pictures = [self._prepare(name, image) for name, image in read_images(images)]
        if not pictures:
            raise ValueError("there are no images to explain: the array, list or folder is empty")
        return np.stack(pictures)

    def _prepare(self, name: str | None, image: np.ndarray) -> np.ndarray:
        if self._fits(image) and (name is None or self._protocol is None):
            return image
        if self._protocol is not None:
            return prepare(image, self._protocol)
        height, width, channels = self._model.input_shape
        if channels != 3 or None in (height, width):
            wanted = self._model.input_shape
            raise ValueError(f"an image {image.shape} does not fit a model that takes {wanted}")
        return np.asarray(Image.fromarray(image).resize((width, height), Image.Resampling.BILINEAR))

    def _fits(self, image) -> bool:
        pairs = zip(self._model.input_shape, image.shape[-3:], strict=True)
        return all(wanted in (None, given) for wanted, given in pairs)


def _choose_layers(calls: dict, names: Sequence[str] | None) -> dict:
    """Return name -> (h, w) of the layers asked for, or of all convolutions, in their order."""
    spatial = {  # one cell, as in a squeeze-and-excitation block, has no place to show
        name: call
        for name, call in calls.items()
        if len(getattr(call.output, "shape", ())) == 4 and call.output.shape[1:3] != (1, 1)
    }
    if names is None:
        names = [name for name, call in spatial.items() if isinstance(call.layer, CONVOLUTIONS)]
    unknown = [name for name in names if name not in spatial]
    if unknown or not names:
        raise ValueError(
            f"no layer to explain: {unknown or names}; it must have an (N, h, w, K) output, "
            f"as have {', '.join(spatial) or 'none here'}"
        )
    for name in names:
        if getattr(spatial[name].layer, "data_format", None) == "channels_first":
            raise ValueError(f"layer {name!r} is channels_first; needed is channels_last")
    return {name: tuple(spatial[name].output.shape[1:3]) for name in spatial if name in names}


def _check_finite(start: int, names: Sequence[str], arrays: Sequence[np.ndarray]) -> None:
    # Pixels too: a ReLU turns NaN into 0, and the map would look sound.
    for name, values in zip(names, arrays, strict=True):
        bad = ~np.isfinite(values).reshape(len(values), -1).all(axis=1)
        if bad.any():
            raise ValueError(
                f"image {start + int(bad.argmax())}: {name} is not finite; "
                "look for NaN or overflow in its pixels and in the model's weights"
            )
