"""Any Keras model: its score by every way is what `model.predict` says, or the model is refused."""

import re

import keras
import numpy as np
import pytest
from keras import layers

from ddlib.deploy.export import convert
from ddlib.deploy.scorer import Scorer
from ddlib.gradcam import GradCAM
from ddlib.metrics.calibration import probability
from ddlib.models.inference import compiled, logit_model

SIZE = 8
MODELS = 20

KEEP = [
    layers.Identity,
    layers.Flatten,
    lambda: layers.Dropout(0.5),
    lambda: layers.Reshape((-1,)),
    lambda: layers.Activation("linear"),
    lambda: lambda p: keras.ops.cast(p, "float64"),
    lambda: lambda p: keras.ops.reshape(p, (-1, 1, p.shape[-1])),
]
CHANGE = [
    lambda: lambda p: 1 - p,
    lambda: lambda p: p**2,
    lambda: lambda p: keras.ops.flip(p, 0),
    lambda: lambda p: layers.Average()([p, p * p]),
    lambda: lambda p: keras.ops.round(p),
    lambda: lambda p: keras.ops.cast(p, "int32"),
    lambda: layers.Rescaling(-1, 1),
    lambda: layers.Lambda(lambda p: p * p, output_shape=lambda shape: shape),
]


class Twice(keras.Model):
    """A functional model with a method `call` of its own."""

    def call(self, inputs, training=None, mask=None):
        return 1 - super().call(inputs, training=training)


def random_model(rng):
    """Return a small network and whether what follows its last layer keeps the score."""
    channels = int(rng.choice([1, 3]))
    image = keras.Input((SIZE, SIZE, channels))
    x = layers.Rescaling(1 / 255)(image) if rng.random() < 0.5 else image / 255
    for _ in range(rng.integers(1, 4)):
        x = random_block(x, rng)
    x = layers.GlobalAveragePooling2D()(x) if rng.random() < 0.7 else layers.Flatten()(x)
    head = rng.choice(["logit", "score", "sigmoid", "pair", "linear", "in_logit"])
    if head == "pair":
        p = layers.Dense(2, "softmax", name="head")(x)
    elif head in ("sigmoid", "in_logit"):
        p = layers.Dense(1, "sigmoid", name="logit" if head == "in_logit" else "head")(x)
    else:
        p = layers.Dense(1, name="logit")(x)
        p = layers.Activation("sigmoid", name="score")(p) if head != "linear" else p
    keeps = bool(rng.random() < 0.7)
    for _ in range(rng.integers(0, 3)):
        p = KEEP[rng.integers(len(KEEP))]()(p)
    if not keeps:
        p = CHANGE[rng.integers(len(CHANGE))]()(p)
    kind = Twice if rng.random() < 0.1 else keras.Model
    keeps = keeps and kind is keras.Model
    model = kind(image, p)
    if rng.random() < 0.3:
        model = keras.Sequential([keras.Input((SIZE, SIZE, channels)), model])
    weights = [rng.normal(0.3, 0.8, weight.shape) for weight in model.get_weights()]
    model.set_weights([np.abs(w) if w.ndim == 1 else w for w in weights])
    return model, keeps, head == "linear"


def random_block(x, rng):
    """Return x after a convolution, a residual block or a nested model."""
    kinds = ["chain", "residual", "nested", "shared", "random"]
    kind, filters = rng.choice(kinds), x.shape[-1]
    if kind == "random":  # when a model predicts, these do nothing
        x = layers.Dropout(0.5)(layers.RandomFlip()(x), training=True)
        return layers.Conv2D(filters, 3, padding="same")(x)
    if kind == "chain":
        x = layers.Conv2D(4, 3, padding="same", activation="relu")(x)
        return layers.BatchNormalization()(x)
    if kind == "residual":
        return layers.Add()([x, layers.Conv2D(filters, 3, padding="same")(x)])
    inner = keras.Input(x.shape[1:])
    y = layers.DepthwiseConv2D(3, padding="same")(inner)
    nested = keras.Model(inner, layers.ReLU(6.0)(y) + inner)
    return nested(nested(x)) if kind == "shared" else nested(x)


def nodes(model):
    """Number of graph nodes at the layers of a model, nested ones included."""
    count = 0
    for layer in model.layers:
        count += len(layer._inbound_nodes) + len(layer._outbound_nodes)
        count += nodes(layer) if isinstance(layer, keras.Model) else 0
    return count


def predicted(model, images, linear):
    """Return P(class 1) as the model itself predicts it."""
    given = model.predict(images.astype("float32"), verbose=0).reshape(len(images), -1)[:, -1]
    return probability(given) if linear else given


@pytest.mark.parametrize("seed", range(MODELS))
def test_the_score_is_what_the_model_predicts_or_the_layer_is_named(seed):
    rng = np.random.default_rng(seed)
    model, keeps, linear = random_model(rng)
    images = rng.integers(0, 256, (3, *model.input_shape[1:]), np.uint8)
    if not keeps:
        for opening in (GradCAM, logit_model, convert):
            with pytest.raises(ValueError, match=re.escape(model.name)):
                opening(model)
        return
    expected, before = predicted(model, images, linear), nodes(model)
    for _ in range(2):
        np.testing.assert_allclose(GradCAM(model)(images).scores, expected, atol=1e-4)
    logits = compiled(logit_model(model))(images)[:, 0]
    np.testing.assert_allclose(probability(logits), expected, atol=1e-4)
    if model.input_shape[-1] == 3:
        logits = Scorer(convert(model), 1).logits(images)
        np.testing.assert_allclose(probability(logits), expected, atol=1e-3)
    else:
        with pytest.raises(
            ValueError, match=r"takes images \(H, W, C\) of \(8, 8, 1\); a detector"
        ):
            convert(model)
    assert nodes(model) == before


def test_an_output_in_a_dict_is_scored_and_half_precision_is_not_exported(rng):
    image, images = keras.Input((SIZE, SIZE, 3)), rng.integers(0, 256, (3, SIZE, SIZE, 3), np.uint8)
    features = layers.GlobalAveragePooling2D()(layers.Conv2D(4, 3)(image / 255))
    model = keras.Model(image, {"fake": layers.Dense(1, "sigmoid")(features)})
    logits = Scorer(convert(model), 1).logits(images)
    expected = model.predict(images, verbose=0)["fake"][:, 0]
    np.testing.assert_allclose(probability(logits), expected, atol=1e-3)
    half = keras.layers.Conv2D(4, 3, dtype="mixed_float16")(image)
    half = keras.Model(image, layers.Dense(1)(layers.GlobalAveragePooling2D()(half)), name="half")
    with pytest.raises(ValueError, match="'half' cannot be converted.*float16"):
        convert(half)


def small(shape, **kind):
    """Return a detector that takes images of this shape."""
    image = keras.Input(shape)
    x = layers.GlobalAveragePooling2D()(layers.Conv2D(2, 3, **kind)(image))
    return keras.Model(image, layers.Dense(1)(x), name="small")


def test_what_a_scored_model_must_be_is_said(rng):
    with pytest.raises(ValueError, match=r"'small' takes .* of \(None, None, 3\); .* of one size"):
        convert(small((None, None, 3)))
    broken = small((8, 8, 3))
    broken.set_weights([np.full(w.shape, np.nan) for w in broken.get_weights()])
    for opening in (GradCAM, logit_model, convert):
        with pytest.raises(ValueError, match="'small' predicts .nan nan.* NaN or overflow"):
            opening(broken)
    rgb = rng.integers(0, 256, (2, 8, 8, 3), np.uint8)
    for shape in ((8, 8, 1), (3, 8, 8)):
        with pytest.raises(ValueError, match="arrays of its own shape"):
            GradCAM(small(shape, padding="same"))(rgb)
