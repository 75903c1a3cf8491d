"""From a Keras detector to the file that a phone runs: LiteRT export, checked against its twin.

The exported model takes one prepared picture as raw uint8 pixels; scaling is inside. It gives the
logit and not the score: sigmoid(logit / temperature) is one line anywhere, while eight bits of a
score would leave no room between 0.996 and 1.
"""

from __future__ import annotations

import warnings
import zipfile
from contextlib import contextmanager
from pathlib import Path

import keras
import numpy as np

from ddlib.files import file_digest, whole, write_json
from ddlib.litert import quiet, runtime
from ddlib.metrics import auc
from ddlib.mobilenet import without_score
from ddlib.proportions import wilson
from ddlib.protocol import Protocol
from ddlib.quantisation import FLOAT, FLOAT_CONVOLUTIONS, eight_bit_twin
from ddlib.scorer import Scorer

KINDS = ("float32", "float16", "int8")
REPRESENTATIVE = 100  # pictures that int8 is fitted to; 200 made no difference


def convert(
    detector: keras.Model,
    kind: str = "float32",
    images=None,
    float_convolutions: int = FLOAT_CONVOLUTIONS,
) -> bytes:
    """Return a detector as a LiteRT model: (1, S, S, 3) uint8 in, the logit (1, 1) float32 out.

    Parameters
    ----------
    detector : keras.Model
        As `ddlib.mobilenet.build_detector` makes it.
    kind : {"float32", "float16", "int8"}
        ``float16`` keeps weights in half the space and computes as float32. ``int8`` computes in
        whole numbers but at either end (`ddlib.quantisation`), weights scaled channel by channel
        (Jacob et al. 2018, arXiv 1712.05877).
    images : (N, S, S, 3) uint8, optional
        For int8: prepared pictures of the training split, real and fake, to which rounding is
        fitted and on which the range of every activation is measured. `REPRESENTATIVE` of them
        are used, spread evenly.
    float_convolutions : int
        For int8: as many of the first convolutions stay in floating point.

    Raises
    ------
    ValueError
        If the kind is unknown, or int8 is asked for without pictures of the right size.
    """
    import tensorflow as tf

    if kind not in KINDS:
        raise ValueError(f"kind={kind!r} is not known; choose from {', '.join(KINDS)}")
    if kind == "int8":
        chosen = _representative(images, detector.input_shape)
        return convert_twin(eight_bit_twin(detector, chosen, float_convolutions), chosen)
    with _hushed():
        converter = _converter(without_score(detector))
        if kind == "float16":
            converter.optimizations = [tf.lite.Optimize.DEFAULT]
            converter.target_spec.supported_types = [tf.float16]
        return converter.convert()


def _converter(logit: keras.Model):
    import tensorflow as tf

    given = tf.TensorSpec((1, *logit.input_shape[1:]), tf.uint8, name="image")
    traced = tf.function(
        lambda image: logit(tf.cast(image, tf.float32), training=False), input_signature=[given]
    ).get_concrete_function()
    return tf.lite.TFLiteConverter.from_concrete_functions([traced])


def convert_twin(twin: keras.Model, images: np.ndarray) -> bytes:
    """Return what `ddlib.quantisation.eight_bit_twin` made as an int8 LiteRT model.

    Parameters
    ----------
    twin : keras.Model
    images : (N, S, S, 3) uint8
        All of them are used to measure the range of every activation.
    """
    import tensorflow as tf

    with _hushed():
        converter = _converter(twin)
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


@contextmanager
def _hushed():
    with quiet(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def _representative(images, shape) -> np.ndarray:
    if images is None or not len(images):
        raise ValueError(
            "int8 needs representative pictures, prepared as for training; give 100 or more"
        )
    _, chosen = spread(images, REPRESENTATIVE)
    if chosen.shape[1:] != shape[1:] or chosen.dtype != np.uint8:
        raise ValueError(
            f"representative pictures are {chosen.shape[1:]} of {chosen.dtype}; "
            f"this detector takes {shape[1:]} of uint8"
        )
    return chosen


def spread(images, most: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the places of up to so many pictures, spread evenly, and those pictures.

    Parameters
    ----------
    images : (N, S, S, 3) array or `ddlib.store.Rows`
    most : int
    """
    places = np.linspace(0, len(images) - 1, min(len(images), most)).astype(int)
    rows_on_disk = hasattr(images, "take") and not isinstance(images, np.ndarray)
    return places, images.take(places) if rows_on_disk else np.asarray(images)[places]


def export(
    detector: keras.Model, path: Path, card: dict, kind: str = "float32", images=None
) -> Path:
    """Write a .tflite file and its card beside it, whole or not at all.

    Parameters
    ----------
    detector, kind, images
        As `convert` takes them.
    path : path
        Ends in .tflite.
    card : dict
        Of the detector (see `ddlib.detectors`). Its hashes are put in here, and its numbers are
        left out: they were not measured with this file.
    """
    path = Path(path)
    if path.suffix != ".tflite":
        raise ValueError(f"{path} must end in .tflite")
    with whole(path) as unfinished:
        unfinished.write_bytes(convert(detector, kind, images))
    facts = {key: value for key, value in card.items() if key not in ("numbers", "default")}
    facts |= {"kind": kind, "sha256": None, "tflite_sha256": file_digest(path)}
    write_json(path.with_suffix(".json"), facts)
    return path


def ship(
    detector: keras.Model, folder: Path, name: str, protocol: Protocol, card: dict | None = None
) -> Path:
    """Write a detector to take away: NAME.keras, NAME.tflite (float16) and the card NAME.json.

    Returns the path of the .keras file; `ddlib.detectors.open_detector` opens it.

    Weights are rounded in place as `round_weights` does, so that what is measured afterwards is
    what was shipped.

    Parameters
    ----------
    detector : keras.Model
    folder : path
    name : str
    protocol : Protocol
    card : dict, optional
        Everything else that the card is to say.
    """
    round_weights(detector)
    keras_file, lite_file = Path(folder) / f"{name}.keras", Path(folder) / f"{name}.tflite"
    with whole(keras_file) as unfinished:
        detector.save(unfinished)
        _deflate(unfinished)
    with whole(lite_file) as unfinished:
        unfinished.write_bytes(convert(detector, "float16"))
        _check_twin(detector, unfinished)
    facts = {
        "provenance": {},
        **(card or {}),
        "protocol": protocol.to_dict(),
        "sha256": file_digest(keras_file),
        "tflite_sha256": file_digest(lite_file),
    }
    write_json(keras_file.with_suffix(".json"), facts)
    return keras_file


def _check_twin(detector: keras.Model, lite_file: Path) -> None:
    """Raise if half precision changed the logits: weights above 65,504 have no place in it."""
    scorer = Scorer(lite_file, 1)
    shape = (4, scorer.image_size, scorer.image_size, 3)
    noise = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    twin = without_score(detector)(noise.astype("float32"), training=False).numpy()[:, 0]
    apart = float(np.abs(scorer.logits(noise) - twin).max())
    if not apart <= 0.1 + 0.05 * np.abs(twin).max():
        raise ValueError(
            f"the float16 twin of {detector.name} differs by {apart:.3g} in its logit (here up to "
            f"{np.abs(twin).max():.3g}); its weights do not fit half precision"
        )


def round_weights(detector: keras.Model) -> None:
    """Round every weight to 11 significant bits, as half precision does, but keep its range.

    The other 13 bits become zeros, which a zip file stores in next to nothing.
    """
    rounded = []
    for weight in detector.get_weights():
        bits = np.ascontiguousarray(weight, "float32").view(np.uint32)
        bits = (bits + 0x0FFF + ((bits >> 13) & 1)) & np.uint32(0xFFFFE000)  # ties to even
        rounded.append(bits.view(np.float32))
    detector.set_weights(rounded)


def _deflate(path: Path) -> None:
    """Write a .keras file, which is a zip of stored parts, again with its parts compressed."""
    with zipfile.ZipFile(path) as old:
        parts = {name: old.read(name) for name in old.namelist()}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as new:
        for name, data in parts.items():
            new.writestr(name, data)


def agreement(scores, twin_scores, labels=None, threshold: float = 0.5) -> dict:
    """Return how far a model's scores are from those of its twin on the same pictures.

    Parameters
    ----------
    scores, twin_scores : (N,) arrays
        P(fake) of the exported model and of the one it was made from.
    labels : (N,) array of 0 and 1, optional
        For the loss of AUC.
    threshold : float

    Returns
    -------
    dict
        n; flips, flip_rate with flip_low and flip_high (Wilson 95 %): verdicts that differ;
        mean_difference and max_difference of scores, absolute; auc_loss (twin minus model; NaN
        where there is no AUC).

    Raises
    ------
    ValueError
        If the lengths differ or there is nothing to compare.

    Examples
    --------
    >>> agreement([0.4, 0.9], [0.6, 0.9])["flips"]
    1
    """
    scores, twin = np.asarray(scores, np.float64), np.asarray(twin_scores, np.float64)
    if scores.shape != twin.shape or scores.ndim != 1 or not len(scores):
        raise ValueError(f"scores of one set are compared; got {scores.shape} and {twin.shape}")
    flips, n = int(np.sum((scores >= threshold) != (twin >= threshold))), len(scores)
    low, high = wilson(flips, n)
    loss = np.nan if labels is None else auc(labels, twin)[0] - auc(labels, scores)[0]
    return {
        "n": n,
        **{"flips": flips, "flip_rate": flips / n, "flip_low": low, "flip_high": high},
        "mean_difference": float(np.abs(scores - twin).mean()),
        "max_difference": float(np.abs(scores - twin).max()),
        "auc_loss": float(loss),
    }
