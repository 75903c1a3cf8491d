"""The inside of a binary classifier: the output of each of its layers, and its logit.

A Keras model nested in another (a backbone used as a layer) hides its layers: they belong to a
graph of their own. `expose` records the calls of all layers, nested ones included, as one list and
repeats them on images. The layers and weights are the model's own; nothing is added to the model.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import keras
from keras import layers

# What may follow the sigmoid: layers and operations (most exist as both, under one name) that leave
# values as they are when a model predicts. GetItem is an index such as y[:, 0].
IDENTITIES = ("Identity", "Dropout", "Reshape", "Flatten", "Cast", "Squeeze", "GetItem")
POOLING = (layers.GlobalAveragePooling2D, layers.GlobalMaxPooling2D)
SQUASHING = ("sigmoid", "softmax")


class Call(NamedTuple):
    """One call of a layer in a model: its arguments and its result as symbolic tensors."""

    layer: keras.Operation
    args: tuple
    kwargs: dict
    output: keras.KerasTensor


class Exposed:
    """What `expose` returns: call it on images for the outputs of layers and the logits.

    Attributes
    ----------
    input_shape : tuple
        (H, W, C) of an image; None stands for any.
    layers : dict
        Name -> `Call`, in the order of the computation, nested models included. A name that occurs
        again gets a number: "conv", then "conv_2".
    """

    def __init__(self, model: keras.Model):
        _check_model(model)
        images, self._calls, output = _record(model)
        self._images, output = keras.tree.flatten((images, output))
        self._source, self._dense, self._units = _find_logit(model, self._calls, output)
        self.input_shape = tuple(self._images.shape[1:])
        self.layers = {}
        for call in self._calls:
            name, number = call.layer.name, 2
            while name in self.layers:
                name, number = f"{call.layer.name}_{number}", number + 1
            self.layers[name] = call

    def __call__(self, images, names=()) -> tuple[list, keras.KerasTensor]:
        """Run the model as it predicts.

        Parameters
        ----------
        images : tensor, (N, H, W, C) float32
        names : sequence of str
            Keys of `layers`.

        Returns
        -------
        outputs : list of tensors
            The outputs of the named layers.
        logits : tensor, (N,) float32
            Positive means class 1. Of two units it is unit 1 minus unit 0: the sigmoid of that is
            the softmax of unit 1, so that both kinds of head mean the same.
        """
        values = {id(self._images): images}
        for call in self._calls:
            args, kwargs = _replace((call.args, call.kwargs), values)
            result = call.layer(*args, **kwargs)
            values.update(_pairs(call.output, result))
        logits = keras.ops.cast(values[id(self._source)], "float32")
        if self._dense is not None:
            logits = keras.ops.matmul(logits, self._dense.kernel)
            logits = logits if self._dense.bias is None else logits + self._dense.bias
        logits = keras.ops.reshape(logits, (-1, self._units))
        logits = logits[:, 0] if self._units == 1 else logits[:, 1] - logits[:, 0]
        return [values[id(self.layers[name].output)] for name in names], logits


def expose(model: keras.Model) -> Exposed:
    """Open a binary classifier so that the outputs of its layers can be asked for.

    Parameters
    ----------
    model : keras.Model
        Functional or Sequential, with one image input and one output: one unit, linear or sigmoid,
        or two, linear or softmax. What leaves values as they are (Reshape, Dropout, a cast, ...)
        may follow.

    Raises
    ------
    ValueError
        If the model is of another kind, or its output cannot be traced back to a logit.
    RuntimeError
        If Keras does not run on TensorFlow.

    Examples
    --------
    >>> model = keras.Sequential([keras.Input((8, 8, 3)), layers.Conv2D(4, 3, name="conv"),
    ...                           layers.GlobalAveragePooling2D(), layers.Dense(1, "sigmoid")])
    >>> outputs, logits = expose(model)(keras.ops.ones((2, 8, 8, 3)), ["conv"])
    >>> tuple(outputs[0].shape), tuple(logits.shape)
    ((2, 6, 6, 4), (2,))
    """
    return Exposed(model)


def _check_model(model) -> None:
    if keras.backend.backend() != "tensorflow":
        raise RuntimeError(
            f"Keras runs on {keras.backend.backend()}, this needs TensorFlow: "
            "set KERAS_BACKEND=tensorflow before Keras is imported"
        )
    name = f"model {model.name!r}" if isinstance(model, keras.Model) else "the model"
    if not _has_graph(model):
        raise ValueError(
            f"{name} is a {type(model).__name__} whose layers are not known before it runs; needed "
            "is a functional Keras model, or a Sequential one that starts with keras.Input"
        )
    for kind, tensors in (("inputs", model.inputs), ("outputs", model.outputs)):
        if len(tensors) != 1:
            raise ValueError(f"{name} has {len(tensors)} {kind}; needed is one")
    shape = model.inputs[0].shape
    if len(shape) != 4:
        raise ValueError(f"{name} takes {tuple(shape)}; needed are images (None, H, W, C)")


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
            for inner, *tensors in inner_calls:
                args, kwargs, result = _replace(tensors, outer)
                calls.append(Call(inner, args, kwargs, result))
        else:
            calls.append(Call(layer, args, kwargs, output))
        return output

    if isinstance(model, keras.Sequential):
        inputs = output = keras.Input(model.inputs[0].shape[1:])
        for layer in model.layers:
            output = call(layer, output)
        return inputs, calls, output
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
    """Return (tensor, dense, units): the logit is the tensor, put through `dense` if not None."""
    made_by = {id(y): call for call in calls for y in keras.tree.flatten(call.output)}
    while _keeps_values(made_by.get(id(output))):
        output = _input(made_by[id(output)])
    call = made_by.get(id(output))
    kind, source, dense = _head(call, made_by)
    units = {"linear": (1, 2), "sigmoid": (1,), "softmax": (2,)}.get(kind, ())
    found = _values_per_image(output)
    if found not in units:
        raise ValueError(
            f"model {model.name!r} ends in {kind} with output {tuple(output.shape)}, which cannot "
            "be traced back to a logit; needed is one unit (linear, or a Dense or Activation with "
            "sigmoid) or two (linear or softmax), followed at most by "
            f"{', '.join(IDENTITIES)}"
        )
    return source, dense, found


def _head(call: Call | None, made_by: dict) -> tuple:
    """Return the kind of the last activation, the tensor before it, and a Dense in between."""
    if call is None:
        return "its input", None, None
    kind = type(call.layer).__name__
    if kind.lower() in SQUASHING:  # Sigmoid and Softmax exist as layers and as operations
        return kind.lower(), _input(call), None
    activation = getattr(getattr(call.layer, "activation", None), "__name__", "linear")
    named = f"{kind} {call.layer.name!r}"
    if activation in SQUASHING:
        if isinstance(call.layer, layers.Activation):
            return activation, _input(call), None
        if type(call.layer) is layers.Dense:
            return activation, _input(call), call.layer
    if activation != "linear":
        return f"{activation} inside a {named}", None, None
    weighted = call  # a linear output must come straight from weights, or may be a probability
    while isinstance(weighted.layer, POOLING) and id(_input(weighted)) in made_by:
        weighted = made_by[id(_input(weighted))]
    linear = getattr(getattr(weighted.layer, "activation", None), "__name__", "")
    if isinstance(weighted.layer, (layers.Dense, layers.Conv2D)) and linear == "linear":
        return "linear", call.output, None
    return f"a {named}", None, None


def _keeps_values(call: Call | None) -> bool:
    if call is None:
        return False
    kind = type(call.layer).__name__
    linear = kind == "Activation" and call.layer.activation is keras.activations.linear
    if not linear and kind not in IDENTITIES:
        return False
    return _values_per_image(call.output) == _values_per_image(_input(call))


def _input(call: Call):
    return keras.tree.flatten((call.args, call.kwargs))[0]


def _values_per_image(tensor) -> int | None:
    sizes = tensor.shape[1:]
    return None if None in sizes else math.prod(sizes)
