"""The inside of a binary classifier: the output of each of its layers, and its logit.

A Keras model nested in another (a backbone used as a layer) hides its layers: they belong to a
graph of their own. `LayerOutputs` records the calls of all layers, nested ones included, as one
list and repeats them on images. The layers and weights are the model's own; nothing is added to it.
Grad-CAM, scoring and export all open a model in this way.
"""

import math
from inspect import signature
from typing import NamedTuple

import keras
import numpy as np
from keras import layers
from scipy.special import expit

if keras.backend.backend() != "tensorflow":  # keras was imported before ddlib
    raise ImportError(
        f"Keras runs on {keras.backend.backend()} here; ddlib needs TensorFlow: import ddlib "
        "before keras, or set KERAS_BACKEND=tensorflow"
    )
# What may follow the sigmoid: layers and operations (most exist as both, under one name) that leave
# values as they are when a model predicts. GetItem is an index such as y[:, 0].
IDENTITIES = ("Identity", "Dropout", "Reshape", "Flatten", "Cast", "Squeeze", "GetItem")
CONVOLUTIONS = (layers.Conv2D, layers.DepthwiseConv2D, layers.SeparableConv2D)
HEADS = {1: ("linear", "sigmoid"), 2: ("linear", "softmax")}  # output units -> last activations
TOLERANCE, MIXED_TOLERANCE = 1e-4, 0.02  # of a score in float32, and in mixed precision


class Call(NamedTuple):
    """One call of a layer in a model: its arguments and its result as symbolic tensors."""

    layer: keras.Operation
    args: tuple
    kwargs: dict
    output: keras.KerasTensor


class LayerOutputs:
    """A binary classifier opened up: called on images (N, H, W, C) it gives logits (N, 1).

    A positive logit means class 1. Of two units it is unit 1 minus unit 0, whose sigmoid is the
    softmax of unit 1, so that both kinds of head mean the same.

    Parameters
    ----------
    model : keras.Model
        Functional or Sequential, with one image input and one output: one unit, linear or sigmoid,
        or two, linear or softmax. What leaves values as they are (Reshape, Dropout, a cast, ...)
        may follow. Another model, or one that predicts something else than the sigmoid of the logit
        found here, is a ValueError.

    ``name`` and ``input_shape`` are those of the model; ``layers`` is a dict name -> `Call` in the
    order of the computation, nested models included. A name that occurs again gets a number:
    "conv", then "conv_2".

    Examples
    --------
    >>> model = keras.Sequential([keras.Input((8, 8, 3)), layers.Conv2D(4, 3, name="conv"),
    ...                           layers.GlobalAveragePooling2D(), layers.Dense(1, "sigmoid")])
    >>> outputs, logits = LayerOutputs(model).run(keras.ops.ones((2, 8, 8, 3)), ["conv"])
    >>> tuple(outputs[0].shape), tuple(logits.shape)
    ((2, 6, 6, 4), (2, 1))
    """

    def __init__(self, model: keras.Model):
        _check_model(model)
        inputs, calls, output = _record(model)
        self._images, output = keras.tree.flatten((inputs, output))
        found = _find_logit(model, calls, output)
        self._before_logit, self._dense, self._units, self._activation = found
        self.name, self.input_shape = model.name, tuple(self._images.shape)
        self.layers = {}
        for call in calls:
            name, number = call.layer.name, 2
            while name in self.layers:
                name, number = f"{call.layer.name}_{number}", number + 1
            self.layers[name] = call
        self._compare_with(model)

    def __call__(self, images, training: bool = False):
        """Return the logits; `training` is there for whoever calls it as a Keras model."""
        return self.run(images)[1]

    def run(self, images, names=()) -> tuple[list, keras.KerasTensor]:
        """Return the outputs of the named layers and the logits for images (N, H, W, C)."""
        values = {id(self._images): images}
        for call in self.layers.values():
            args, kwargs = _replace((call.args, call.kwargs), values)
            if "training" in signature(call.layer.call).parameters:
                kwargs["training"] = False  # as `predict` does, whatever a layer does by default
            values.update(_pairs(call.output, call.layer(*args, **kwargs)))
        logits = keras.ops.cast(values[id(self._before_logit)], "float32")
        if self._dense is not None:  # with its activation left out
            logits = keras.ops.matmul(logits, self._dense.kernel)
            logits = logits if self._dense.bias is None else logits + self._dense.bias
        if len(logits.shape) != 2:
            logits = keras.ops.reshape(logits, (-1, self._units))
        if self._units == 2:
            logits = logits[:, 1:] - logits[:, :1]
        return [values[id(self.layers[name].output)] for name in names], logits

    def scores_of(self, output) -> np.ndarray:
        """Return P(class 1), (N,) float64, from what the model itself gives, as `predict` does."""
        (output,) = keras.tree.flatten(output)  # a model may give it in a list or dict
        output = np.asarray(output, np.float64).reshape(-1, self._units)
        if self._activation != "linear":
            return output[:, -1]
        return expit(output[:, -1] - (output[:, 0] if self._units == 2 else 0))

    def _compare_with(self, model) -> None:
        """Raise unless the model itself predicts the sigmoid of the logits on two noise images."""
        shape = (2, *(size or 64 for size in self.input_shape[1:]))
        noise = np.random.default_rng(0).integers(0, 256, shape).astype("float32")
        output = keras.tree.map_structure(np.float32, model(noise, training=False))
        expected, found = self.scores_of(output), expit(np.float64(self(noise)))[:, 0]
        # an operation has no type of its own
        kinds = {getattr(call.layer, "compute_dtype", "float32") for call in self.layers.values()}
        tolerance = TOLERANCE if kinds <= {"float32"} else MIXED_TOLERANCE
        if not np.allclose(found, expected, rtol=0, atol=tolerance):
            raise ValueError(
                f"model {model.name!r} predicts {expected} for two images of noise, but its layers "
                f"called one by one as far as {self._before_logit.name!r} give {found}: "
                "look for NaN or overflow in its weights, or for a method `call` of its own or a "
                "layer that changes between calls, which hides the logit"
            )


def _check_model(model) -> None:
    if not _has_graph(model):
        raise ValueError(
            f"the model is a {type(model).__name__} whose layers are not known before it runs; "
            "needed is a functional Keras model, or a Sequential one that starts with keras.Input"
        )
    counts, shape = (len(model.inputs), len(model.outputs)), tuple(model.inputs[0].shape)
    if counts != (1, 1) or len(shape) != 4:
        raise ValueError(
            f"model {model.name!r} has {counts[0]} inputs, {counts[1]} outputs and takes {shape}; "
            "needed are one input of images (None, H, W, C) and one output"
        )


def _has_graph(model) -> bool:
    known = isinstance(model, keras.Sequential) or hasattr(model, "operations")
    return isinstance(model, keras.Model) and known and bool(getattr(model, "inputs", None))


class _StandIn(keras.Operation):
    """Takes a layer's place in a symbolic graph.

    Calling the layer itself would attach a node to it that stays as long as the layer does.
    """

    def __init__(self, layer):
        super().__init__()
        self.layer = layer

    def compute_output_spec(self, *args, **kwargs):
        return self.layer.compute_output_spec(*args, **kwargs)


def _record(model) -> tuple:
    """Return a model's inputs, the calls of its layers in order, and its output, all symbolic."""
    calls = []

    def call(layer, *args, **kwargs):
        output = _StandIn(layer)(*args, **kwargs)
        if _has_graph(layer):
            inner_inputs, inner_calls, inner_output = _record(layer)
            outer = dict(_pairs(inner_inputs, args[0]) + _pairs(inner_output, output))
            calls.extend(Call(inner, *_replace(tensors, outer)) for inner, *tensors in inner_calls)
        else:
            calls.append(Call(layer, args, kwargs, output))
        return output

    if isinstance(model, keras.Sequential):
        model = keras.Model(model.inputs, model.outputs)  # a graph of the same layers
    inputs = keras.tree.map_structure(
        lambda x: keras.Input(x.shape[1:], dtype=x.dtype, name=x.name), model.input
    )
    copy = keras.models.clone_model(
        model, inputs, clone_function=lambda layer: layer, call_function=call
    )
    return inputs, calls, copy.output


def _pairs(symbols, values) -> list[tuple]:
    """Return (id of symbol, value) for each tensor of two like structures."""
    keys = [id(symbol) for symbol in keras.tree.flatten(symbols)]
    return list(zip(keys, keras.tree.flatten(values), strict=True))


def _replace(structure, values: dict):
    """Return a structure with its symbolic tensors replaced by those of their values given."""
    return keras.tree.map_structure(lambda x: values.get(id(x), x), structure)


def _find_logit(model, calls: list[Call], output) -> tuple:
    """Return (tensor, dense, units, activation) of the output.

    The logit is the tensor, put through `dense` without its activation if that is not None.
    """
    made_by = {id(y): call for call in calls for y in keras.tree.flatten(call.output)}
    call = made_by.get(id(output))
    while call is not None and _keeps_values(call):
        output = _input(call)
        call = made_by.get(id(output))
    layer = call and call.layer
    units, activation = _values_per_image(output), _activation(layer)
    if activation in HEADS.get(units, ()):
        if activation == "linear" and isinstance(layer, (layers.Dense, layers.Conv2D)):
            return output, None, units, activation
        if type(layer).__name__ in ("Activation", "Sigmoid", "Softmax"):
            return _input(call), None, units, activation
        if type(layer) is layers.Dense:
            return _input(call), layer, units, activation
    raise ValueError(
        f"model {model.name!r} ends in a {type(layer).__name__} (activation {activation}) named "
        f"{getattr(layer, 'name', None)!r} with output {tuple(output.shape)}, which cannot be "
        "traced back to a logit; needed is one unit (linear, or a Dense or Activation with "
        f"sigmoid) or two (linear or softmax), followed at most by {', '.join(IDENTITIES)}"
    )


def _activation(layer) -> str:
    if type(layer).__name__ in ("Sigmoid", "Softmax"):  # exist as layers and as operations
        return type(layer).__name__.lower()
    return getattr(getattr(layer, "activation", None), "__name__", "none")


def _keeps_values(call: Call) -> bool:
    linear = isinstance(call.layer, layers.Activation) and _activation(call.layer) == "linear"
    if not linear and type(call.layer).__name__ not in IDENTITIES:
        return False
    return _values_per_image(call.output) == _values_per_image(_input(call))


def _input(call: Call):
    return keras.tree.flatten((call.args, call.kwargs))[0]


def _values_per_image(tensor) -> int | None:
    sizes = tensor.shape[1:]
    return None if None in sizes else math.prod(sizes)


def spatial_layers(calls: dict[str, Call], names=None) -> dict[str, tuple]:
    """Return name -> (h, w) of the layers asked for, or of all convolutions, in their order.

    A layer whose output is one cell, as in a squeeze-and-excitation block, has no place to show.
    """
    sizes = {
        name: tuple(call.output.shape[1:3])
        for name, call in calls.items()
        if len(getattr(call.output, "shape", ())) == 4 and call.output.shape[1:3] != (1, 1)
    }
    if names is None:
        names = [name for name in sizes if isinstance(calls[name].layer, CONVOLUTIONS)]
    unknown = [name for name in names if name not in sizes]
    if unknown or not names:
        raise ValueError(
            f"no layer to explain: {unknown or names}; it must have an (N, h, w, K) output, "
            f"as have {', '.join(sizes) or 'none here'}"
        )
    for name in names:
        if getattr(calls[name].layer, "data_format", None) == "channels_first":
            raise ValueError(f"layer {name!r} is channels_first; needed is channels_last")
    return {name: size for name, size in sizes.items() if name in names}


def check_finite(arrays: dict[str, np.ndarray]) -> None:
    """Raise if an array (N, ...) holds NaN or infinity, naming it and the first such image."""
    for name, values in arrays.items():
        bad = ~np.isfinite(values).reshape(len(values), -1).all(axis=1)
        if bad.any():
            raise ValueError(
                f"image {int(bad.argmax())}: {name} is not finite; "
                "look for NaN or overflow in its pixels and in the model's weights"
            )
