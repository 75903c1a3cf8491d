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

from ddlib._io import atomic_write, file_digest, write_json
from ddlib.data.loader import evenly_spaced
from ddlib.deploy.quantisation import FLOAT, FLOAT_CONVOLUTIONS, quantised_copy
from ddlib.deploy.scorer import Scorer
from ddlib.models.inference import logit_model, quiet, runtime
from ddlib.protocol import Protocol

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
        whole numbers but at either end (`ddlib.deploy.quantisation`), weights scaled channel by channel
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
        return convert_quantised(quantised_copy(detector, chosen, float_convolutions), chosen)
    with _hushed():
        converter = _converter(logit_model(detector))
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


def convert_quantised(twin: keras.Model, images: np.ndarray) -> bytes:
    """Return what `ddlib.deploy.quantisation.quantised_copy` made as an int8 LiteRT model.

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
    _, chosen = evenly_spaced(images, REPRESENTATIVE)
    if chosen.shape[1:] != shape[1:] or chosen.dtype != np.uint8:
        raise ValueError(
            f"representative pictures are {chosen.shape[1:]} of {chosen.dtype}; "
            f"this detector takes {shape[1:]} of uint8"
        )
    return chosen


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
        Of the detector (see `ddlib.deploy.detector`). Its hashes are put in here, and its numbers are
        left out: they were not measured with this file.
    """
    path = Path(path)
    if path.suffix != ".tflite":
        raise ValueError(f"{path} must end in .tflite")
    with atomic_write(path) as unfinished:
        unfinished.write_bytes(convert(detector, kind, images))
    facts = {key: value for key, value in card.items() if key not in ("numbers", "default")}
    facts |= {"kind": kind, "sha256": None, "tflite_sha256": file_digest(path)}
    write_json(path.with_suffix(".json"), facts)
    return path


def write_release(
    detector: keras.Model, folder: Path, name: str, protocol: Protocol, card: dict | None = None
) -> Path:
    """Write a detector to take away: NAME.keras, NAME.tflite (float16) and the card NAME.json.

    Returns the path of the .keras file; `ddlib.deploy.detector.open_detector` opens it.

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
    with atomic_write(keras_file) as unfinished:
        detector.save(unfinished)
        _deflate(unfinished)
    with atomic_write(lite_file) as unfinished:
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
    twin = logit_model(detector)(noise.astype("float32"), training=False).numpy()[:, 0]
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
