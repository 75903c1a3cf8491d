"""Grad-CAM: where in an image a detector finds evidence for "fake" or for "real".

For a layer with output (activations) ``A`` (h, w, K) and the logit ``y`` of the requested class,
equations 1 and 2 of Selvaraju et al. 2017 (arXiv 1610.02391) are

    alpha_k = mean over the h x w cells of dy/dA_k
    map = relu(sum_k alpha_k A_k)

A detector has one output unit, so no class has an index: evidence for fake is what raises the
logit, evidence for real what lowers it, and y is ``+logit`` or ``-logit``. (The study took the
argmax over the one unit, which is always 0, and so explained one class only.) A map may be all
zero: "nothing here speaks for this class". One forward and one backward pass give the maps of all
layers.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import tensorflow as tf

from ddlib._utils import check_choice
from ddlib.data.loader import prepare
from ddlib.images.overlay import mean_map, normalise, upsample
from ddlib.images.read import read_images, resize
from ddlib.metrics.calibration import probability
from ddlib.models.layer_outputs import LayerOutputs, check_finite, spatial_layers

SIGNS = {"fake": 1, "real": -1}
MEAN = "mean"
ALL = "all"


@dataclass(frozen=True, eq=False)
class HeatMaps:
    """Grad-CAM maps of N images at one layer."""

    heat: np.ndarray  # (N, h, w) in [0, 1]: each map divided by its own maximum, or all zeros
    has_evidence: np.ndarray  # (N,) bool: whether any cell speaks for the target class
    raw: np.ndarray  # (N, h, w) >= 0: before division and resizing, logit; for "mean" no unit
    logits: np.ndarray  # (N,) the logit of "fake", also where the target is "real"
    scores: np.ndarray  # (N,) the sigmoid of the logits: P(fake), without `Detector`'s calibration
    target: str  # "fake" or "real"
    layer: str  # its name, or "mean"


class GradCAM:
    """Grad-CAM of a binary detector: made once, called on any number of images.

    Parameters
    ----------
    model : keras.Model, `ddlib.deploy.detector.Detector` or trained run
        One image input and one or two output units, which `ddlib.models.layer_outputs` turns into
        one logit. It is not changed. The last two know how images are prepared for them.
    layers : sequence of str, optional
        Layers to make maps of, with (N, h, w, K) outputs; by default all convolutions.
    positive : {"fake", "real"}
        What label 1 meant in training. ``keras.utils.image_dataset_from_directory`` numbers folders
        by name, "fake" 0 and "real" 1: then the output is P(real), and this is "real".
    batch_size : int
        Images per pass. For all layers of MobileNet an image of 256 pixels needs about 60 MB.

    Attributes
    ----------
    layers : dict
        Name -> (h, w) of the layer's maps, from input to output.

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
        """Map the evidence in one image or many. The first call takes seconds: TensorFlow compiles.

        Parameters
        ----------
        images : array (N, H, W, C) or (H, W, C), path, folder, PIL image, or a list of these
            Pixels are 0 to 255. An array of the model's own size counts as prepared and is used as
            it is; other images are prepared as the model's protocol says, or resized where it has
            none.
        target : {"fake", "real"}
            The class whose evidence is mapped.
        layer : str, optional
            One of `layers`, by default the last. "mean" divides each layer's map by its maximum,
            enlarges it to the image and takes the mean; "all" is every layer, and "mean".
        size : int or (int, int), optional
            Height and width of `heat`. By default the layer's own; for "mean" those of the images.

        Returns
        -------
        HeatMaps
            Of all images, also of a single one; for "all" a dictionary name -> HeatMaps.

        Raises
        ------
        ValueError
            If target or layer is unknown, there is no image, or a value is NaN or infinite.
        """
        check_choice("target", target, SIGNS)
        names = tuple(self.layers)
        last = names[-1]
        layer = last if layer is None else layer
        check_choice("layer", layer, (*names, MEAN, ALL))
        images = self._as_batch(images)
        # the last layer alone is cheap; for another one all are computed, and traced only once
        evidence, logits = self._signed_evidence(images, (last,) if layer == last else names)
        # The pixels too: a ReLU turns NaN into 0, and the map would look sound.
        check_finite({"pixels": images, "logit": logits} | evidence)
        raw = {name: np.maximum(SIGNS[target] * part, 0) for name, part in evidence.items()}  # relu
        if layer in (MEAN, ALL):
            heats = [normalise(part)[0] for part in raw.values()]
            raw[MEAN] = mean_map(heats, images.shape[1:3])
        scores = probability(logits).astype(np.float32)
        wanted = list(raw) if layer == ALL else [layer]
        maps = {}
        for name in wanted:
            heat, has_evidence = normalise(raw[name])
            heat = heat if size is None else upsample(heat, size)
            maps[name] = HeatMaps(heat, has_evidence, raw[name], logits, scores, target, name)
        return maps if layer == ALL else maps[layer]

    def activations_and_gradients(self, images, names: Sequence[str]):
        """Return the lists of A and dy/dA of the named layers, and the logits y.

        Images are (N, H, W, C) as the model takes them, A and dy/dA tensors (N, h, w, K), y is
        (N,), the logit of "fake". That of "real" is -y, with gradients of the opposite sign.
        """
        images = tf.convert_to_tensor(images, tf.float32)
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(images)  # so that the tape also records layers without trainable weights
            activations, logits = self._model.run(images, names)
            logits = self._sign * logits[:, 0]
            # No image influences another (batch normalisation uses its stored averages), so the
            # gradient of the sum is that of each by itself.
            total = tf.reduce_sum(logits)
        gradients = tape.gradient(total, activations, unconnected_gradients="zero")
        return activations, gradients, logits

    def weights(self, gradients):
        """Return alpha, the weights of the K channels (N, K): equation 1."""
        return tf.reduce_mean(gradients, axis=(1, 2))

    def weighted_sum(self, activations, weights):
        """Return sum_k alpha_k A_k (N, h, w), signed evidence: equation 2 before the ReLU."""
        return tf.einsum("nhwk,nk->nhw", activations, weights)

    def _signed_evidence(
        self, images, names: tuple[str, ...]
    ) -> tuple[dict[str, np.ndarray], np.ndarray]:
        """Return the evidence for "fake" of each layer, (N, h, w), below 0 for real; and y (N,)."""

        def run(batch):
            activations, gradients, logits = self.activations_and_gradients(batch, names)
            pairs = zip(activations, gradients, strict=True)
            evidence = [self.weighted_sum(a, self.weights(gradient)) for a, gradient in pairs]
            return [tf.cast(values, tf.float32) for values in [*evidence, logits]]

        if names not in self._traced:  # compiled once for each choice of layers
            batches = tf.TensorSpec(self._model.input_shape, tf.float32)  # of any number of images
            compiled = tf.function(run, input_signature=[batches])
            self._traced[names] = compiled.get_concrete_function()
        results = []  # of each batch: the evidence of each layer, then the logits
        for start in range(0, len(images), self._batch_size):
            batch = np.asarray(images[start : start + self._batch_size], np.float32)
            results.append([values.numpy() for values in self._traced[names](tf.constant(batch))])
        *evidence, logits = [np.concatenate(values) for values in zip(*results, strict=True)]
        return dict(zip(names, evidence, strict=True)), logits

    def _as_batch(self, images) -> np.ndarray:
        """Return one array (N, H, W, C) of images as the model takes them."""
        if len(getattr(images, "shape", ())) in (3, 4) and self._fits(images):
            # of a plain Keras model nobody knows whether it takes 0 to 1
            if self._protocol is not None and np.asarray(images).dtype.kind == "f":
                highest = np.max(images)
                if 0 < highest <= 1:
                    raise ValueError(
                        f"pixels of up to {highest:.3g}, but this detector takes 0 to 255: "
                        "multiply them by 255"
                    )
            return images if len(images.shape) == 4 else images[None]
        loaded = read_images(images)
        side = self._model.input_shape[1]
        if self._protocol is not None:
            batch = np.stack([prepare(image, self._protocol) for image in loaded])
        else:
            batch = np.stack([x if self._fits(x) else resize(x, side) for x in loaded])
        if not self._fits(batch):
            raise ValueError(
                f"the model takes images (H, W, C) of {self._model.input_shape[1:]} and these are "
                f"{batch.shape[1:]}: give it arrays of its own shape"
            )
        return batch

    def _fits(self, images) -> bool:
        """Return whether an image or a batch has the model's size; None there fits any."""
        pairs = zip(self._model.input_shape[1:], images.shape[-3:], strict=True)
        return len(images) > 0 and all(wanted in (None, given) for wanted, given in pairs)
