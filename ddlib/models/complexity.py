"""What a network costs: parameters and multiply-adds, counted layer by layer.

A multiply-add is one product and the sum that takes it up; papers on small networks (MobileNet,
Howard et al. 2017) count these. Only convolutions and dense layers are counted, as they do;
scaling, activations and batch normalisation (which folds into the convolution) are not.
"""

from math import prod

import pandas as pd

# Their products for one place of the output: each number of a kernel is used there once.
KERNELS = {
    "Conv2D": ("kernel",),
    "DepthwiseConv2D": ("kernel",),
    "SeparableConv2D": ("depthwise_kernel", "pointwise_kernel"),
    "Dense": ("kernel",),
}


def cost(model) -> dict:
    """Return the parameters and multiply-adds (ints) of a Keras model for one image."""
    total = sum(multiply_adds(layer) for layer in leaf_layers(model))
    return {"parameters": model.count_params(), "multiply_adds": total}


def cost_by_layer(model) -> pd.DataFrame:
    """Return layer, kind, parameters and multiply_adds of each layer, nested models opened.

    An input of open size, or a layer that multiplies in an unknown way, is a ValueError.
    """
    rows = [
        (layer.name, type(layer).__name__, layer.count_params(), multiply_adds(layer))
        for layer in leaf_layers(model)
    ]
    return pd.DataFrame(rows, columns=["layer", "kind", "parameters", "multiply_adds"])


def multiply_adds(layer) -> int:
    """Return the multiply-adds of one built Keras layer for one image.

    A convolution with a k x k kernel from C_in to C_out channels in g groups and an output of
    h x w cells costs ``h w k k C_in / g C_out``, a depthwise one ``h w k k C_out``, a dense layer
    ``C_in C_out`` for each place.
    """
    kind = type(layer).__name__
    if kind not in KERNELS:
        if any(len(weight.shape) > 1 for weight in layer.weights):
            known = ", ".join(KERNELS)
            raise ValueError(f"layer {layer.name} is a {kind}; only {known} can be counted")
        return 0
    places = layer.output.shape[1:-1]
    if None in places:
        raise ValueError(
            f"layer {layer.name} has an output of open size {layer.output.shape}; "
            "build the model for one image size, as input_shape=(224, 224, 3)"
        )
    return prod(places) * sum(prod(getattr(layer, name).shape) for name in KERNELS[kind])


def leaf_layers(model):
    """Yield a model's layers in order, those of nested models in place of the model."""
    for layer in model.layers:
        if hasattr(layer, "layers"):
            yield from leaf_layers(layer)
        else:
            yield layer
