"""What happens inside a detector: the output of each of its layers, and the logit of "fake".

A Keras model nested in another (a backbone as a layer) hides its activations: they belong to a
graph of their own. `expose` builds one view over the same layers and weights in which every
activation can be asked for at once.
"""

from __future__ import annotations

from typing import NamedTuple

import keras

from ddlib.protocol import FAKE, REAL

SQUASHING = ("sigmoid", "softmax")


class Exposed(NamedTuple):
    """A model with its inside open: symbolic tensors for ``keras.Model(image, [...])``.

    Attributes
    ----------
    image : KerasTensor, (N, H, W, C) float32
    layers : dict
        Name -> (layer, its output), in the order of the computation, nested models included. A name
        that occurs again gets a number: "conv", then "conv_2".
    logit : KerasTensor, (N,) float32
        The value before the sigmoid: positive means fake.
    """

    image: keras.KerasTensor
    layers: dict
    logit: keras.KerasTensor


def expose(model: keras.Model) -> Exposed:
    """Open a binary detector; the layers are shared, the model itself is not changed.

    Parameters
    ----------
    model : keras.Model
        Functional or Sequential with one image input. It ends in one unit, linear or sigmoid, or in
        two (real, fake), linear or softmax.

    Raises
    ------
    ValueError
        If the model is of another kind or has another head.
    RuntimeError
        If Keras does not run on TensorFlow.
    """
    if keras.backend.backend() != "tensorflow":
        raise RuntimeError(
            f"Keras runs on {keras.backend.backend()}, this needs TensorFlow: "
            "set KERAS_BACKEND=tensorflow before Keras is imported"
        )
    image, calls, output, head = _walk(model)
    layers = {}
    for layer, y in calls:
        name, again = layer.name, 2
        while name in layers:
            name, again = f"{layer.name}_{again}", again + 1
        layers[name] = (layer, y)
    return Exposed(image, layers, _logit(model, output, *head))


def _walk(model):
    """Call a model's layers one by one on a new input.

    Returns the input, [(layer, output)], the model's output and its head: the name of the last
    activation and the value before it.
    """
    image = _input_of(model)
    calls, heads = [], {}

    def visit(layer, *args, **kwargs):
        if isinstance(layer, keras.Model) and _is_graph(layer):
            start, inner, end, (activation, z) = _walk(layer)
            *outputs, z, y = keras.Model(start, [*(y for _, y in inner), z, end])(args[0])
            calls.extend((part, y) for (part, _), y in zip(inner, outputs, strict=True))
            heads[id(y)] = (activation, z)
            return y
        y = layer(*args, **kwargs)
        if hasattr(y, "shape"):
            calls.append((layer, y))
            heads[id(y)] = _before(layer, args, y)
        return y

    if isinstance(model, keras.Sequential):
        output = image
        for layer in model.layers:
            output = visit(layer, output)
    else:
        output = keras.models.clone_model(
            model, input_tensors=image, clone_function=lambda layer: layer, call_function=visit
        ).output
    return image, calls, output, heads.get(id(output), ("linear", output))


def _input_of(model):
    """Return a new input like the model's one; an error says what else it is."""
    inputs = getattr(model, "inputs", None) or []
    if not _is_graph(model) or len(inputs) != 1:
        raise ValueError(
            f"model {model.name!r} is a {type(model).__name__} with {len(inputs)} known inputs; "
            "needed is a functional or Sequential model built on one image input"
        )
    return keras.Input(batch_shape=(None, *inputs[0].shape[1:]), dtype="float32")


def _is_graph(model) -> bool:
    return isinstance(model, keras.Sequential) or hasattr(model, "operations")


def _before(layer, args, y):
    """Return a layer's activation and the value before it, if it is a sigmoid or softmax."""
    kind = type(layer).__name__.lower()  # Softmax and Sigmoid exist as layers and as operations
    if kind in SQUASHING:
        return kind, args[0]
    activation = getattr(getattr(layer, "activation", None), "__name__", "linear")
    if activation not in SQUASHING:
        return activation, y
    if isinstance(layer, keras.layers.Activation):
        return activation, args[0]
    if type(layer) is not keras.layers.Dense:
        return f"{activation} inside a {type(layer).__name__}", y
    z = keras.ops.matmul(keras.ops.cast(args[0], "float32"), layer.kernel)
    return activation, z if layer.bias is None else z + layer.bias


def _logit(model, output, activation, z):
    """Return the signed logit of "fake", (N,); with two units it is fake minus real.

    The sigmoid of that difference is softmax's P(fake), so both heads mean the same.
    """
    units = {"linear": (1, 2), "sigmoid": (1,), "softmax": (2,)}.get(activation, ())
    if len(z.shape) != 2 or z.shape[-1] not in units:
        raise ValueError(
            f"model {model.name!r} ends in {activation} with output {tuple(output.shape)}; needed "
            "is one unit (linear, or a Dense or Activation with sigmoid) or two (linear or softmax)"
        )
    z = keras.ops.cast(z, "float32")
    return z[:, 0] if z.shape[-1] == 1 else z[:, FAKE] - z[:, REAL]
