"""From a Keras detector to the file that a phone runs: LiteRT export, checked against the original.

The exported model takes one prepared image as raw uint8 pixels; scaling is inside. It gives the
logit and not the score: eight bits of a score would leave no room between 0.996 and 1.
"""

from dataclasses import replace
from pathlib import Path

import numpy as np
import tensorflow as tf

from ddlib._utils import atomic_write, check_choice, file_digest
from ddlib.data.batches import evenly_spaced
from ddlib.data.loader import prepare_file
from ddlib.data.sources import MANIFEST, open_folder
from ddlib.deploy.detector import Detector
from ddlib.deploy.quantisation import FLOAT, quantised_copy
from ddlib.deploy.scorer import DetectorError, Scorer, image_chunks
from ddlib.images.read import ImageError, list_images
from ddlib.metrics.calibration import probability
from ddlib.metrics.score_table import agreement
from ddlib.models.inference import converted, keras_logits, logit_model, runtime
from ddlib.protocol import Protocol

KINDS = ("float32", "float16", "int8")
REPRESENTATIVE = 100  # images that int8 is fitted to
MOST_DIFFERENCE = {"float32": 0.005, "float16": 0.02, "int8": 0.1}  # of scores, on average


def convert(model, kind: str = "float32", images=None) -> bytes:
    """Return a detector as a LiteRT model: (1, S, S, 3) uint8 in, the logit (1, 1) float32 out.

    Parameters
    ----------
    model : keras.Model
        A binary classifier of images; for int8 as `ddlib.mobilenet.build_detector` makes it.
    kind : {"float32", "float16", "int8"}
        ``float16`` keeps weights in half the space and computes as float32. ``int8`` computes in
        whole numbers but at either end (`ddlib.deploy.quantisation`), weights scaled channel by
        channel (Jacob et al. 2018, arXiv 1712.05877).
    images : (N, S, S, 3) uint8, optional
        For int8: prepared images of the training split, real and fake, to which rounding is fitted.
        `REPRESENTATIVE` of them are used, spread evenly.

    Raises
    ------
    ValueError
        If the kind is unknown, int8 is asked for without images of the right size, or the scores
        of the result are not those of ``model.predict``.
    """
    check_choice("kind", kind, KINDS)
    if kind == "int8":
        chosen = evenly_spaced([] if images is None else images, REPRESENTATIVE)[1]
        shape = model.input_shape[1:]
        if not len(chosen) or chosen.shape[1:] != shape or chosen.dtype != np.uint8:
            raise ValueError(
                f"int8 needs representative images of shape {shape} and uint8, prepared as for "
                f"training; got {chosen.shape} of {chosen.dtype}"
            )
        content = convert_quantised(quantised_copy(model, chosen), chosen)
    else:
        optimise = _half_precision if kind == "float16" else None
        content = converted(logit_model(model), True, optimise)
        noise = np.random.default_rng(0).integers(0, 256, (4, *model.input_shape[1:]), np.uint8)
        chosen = np.concatenate([noise, 96 + noise // 4])  # strong and weak contrast
    _check_scores(model, content, kind, chosen)
    return content


def _check_scores(model, content: bytes, kind: str, images: np.ndarray) -> None:
    """Raise unless a converted model gives the scores of ``model.predict`` on the images."""
    expected = logit_model(model).scores_of(model.predict(images, batch_size=8, verbose=0))
    try:
        found = probability(Scorer(content).logits(images))
    except DetectorError as error:
        raise ValueError(f"model {model.name!r} as {kind} is of no use: {error}") from error
    difference = np.abs(found - expected).mean()
    if not difference <= MOST_DIFFERENCE[kind]:
        raise ValueError(
            f"model {model.name!r} as {kind} differs from the Keras model by {difference:.3g} in "
            f"its scores on average ({MOST_DIFFERENCE[kind]} is allowed): its weights do not fit "
            "half precision or 8 bits, or its layers cannot be converted; export it as float32"
        )


def _half_precision(converter) -> None:
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.target_spec.supported_types = [tf.float16]


def convert_quantised(model, images: np.ndarray) -> bytes:
    """Return what `quantised_copy` made as an int8 LiteRT model.

    `images` (N, S, S, 3) uint8 are used to measure the range of every activation.
    """

    def quantise(converter) -> bytes:
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        converter.representative_dataset = lambda: ([image[None]] for image in images)
        # Made for looking into a conversion, and the only public way to leave layers out of it.
        debugger = tf.lite.experimental.QuantizationDebugger(converter=converter)
        reader = runtime()(model_content=debugger.calibrated_model)
        names = [tensor["name"] for tensor in reader.get_tensor_details()]
        answer = reader.get_output_details()[0]["name"]  # the converter has its own name for it
        debugger.options = tf.lite.experimental.QuantizationDebugOptions(
            denylisted_nodes=[name for name in names if FLOAT in name or name == answer]
        )
        return debugger.get_nondebug_quantized_model()

    return converted(model, True, quantise)


def export(detector: Detector, path: Path, kind: str = "float32", images=None) -> Detector:
    """Write a detector as a .tflite file with its card beside it, and return what was written.

    `kind` and `images` are as in `convert`. The card has no numbers: they are of another file.
    """
    path = Path(path)
    if path.suffix != ".tflite":
        raise ValueError(f"{path} must end in .tflite")
    with atomic_write(path) as unfinished:
        unfinished.write_bytes(convert(detector.keras_model(), kind, images))
    card = replace(detector.card, name=path.stem, sha256=None, tflite_sha256=file_digest(path))
    card = replace(card, default=False, numbers=[], false_accusations=[])
    card.write(path.with_suffix(".json"))
    return Detector(card, path.parent)


def prepared_images(folder: Path, protocol: Protocol, count: int) -> np.ndarray:
    """Return up to `count` prepared images (N, S, S, 3), spread evenly over a folder.

    Of a folder with a ``manifest.csv`` only images of the training split are taken. Those that
    cannot be read are left out.
    """
    if (folder / MANIFEST).is_file():
        table = open_folder(folder).select(split="train").table
        files = list(zip(table["path"], table["crop_share"], strict=True))
    else:
        files = [(name, 1.0) for name in list_images(folder)]
    if not files:
        raise ValueError(f"there is no (training) image in {folder}")
    chosen, _ = evenly_spaced(np.arange(len(files)), count)
    prepared, problem = [], None
    for name, share in (files[i] for i in chosen):
        try:
            prepared.append(prepare_file(folder / name, protocol, share))
        except ImageError as error:
            problem = error
    if not prepared:
        raise problem
    return np.stack(prepared)


def compare_with_keras(exported: Detector, original: Detector, images) -> dict:
    """Return the agreement of an exported detector with its Keras model on prepared images."""
    scores = exported.scores(exported.scorer().logits(images))
    reference = original.scores(keras_logits(original.keras_model(), image_chunks(images)))
    return agreement(scores, reference, threshold=original.threshold)
