from dataclasses import replace
from types import SimpleNamespace

import keras
import numpy as np
import pytest

from ddlib.data.batches import training_batches, validation_batches
from ddlib.data.cache import Cache
from ddlib.data.loader import load_images
from ddlib.ela import ela_map
from ddlib.models.features import bottleneck_features, split_backbone
from ddlib.models.fused_norm import with_fused_norms
from ddlib.models.joined import joined_detector
from ddlib.models.train import EpochLog, build_from_protocol, fit, learning_rate, train_detector
from ddlib.protocol import preset

TINY = preset(
    "clean",
    "gan",
    image_size=64,
    alpha=0.25,
    weights=None,
    batch_size=8,
    epochs=3,
    trainable_layers=10,
    label_smoothing=0.0,
    feature_dtype="float32",
)


@pytest.fixture(scope="module")
def sets(tiny, short_mobilenet):
    sources = ["ffhq", "stylegan"]
    return [tiny.select(source=sources, split=s) for s in ("train", "valid")]


def test_training_on_features_repeats_plain_fit(sets, cache):
    lines = []
    cached = train_detector(*sets, TINY, cache, lines.append)

    plain = build_from_protocol(TINY)
    rows = [load_images(part, TINY, cache) for part in sets]
    mirrored = SimpleNamespace(take=lambda places: rows[0].take(places)[:, :, ::-1])
    data = training_batches(rows[0], mirrored, sets[0].labels, TINY)
    check = validation_batches(rows[1], sets[1].labels, TINY)
    history = fit(plain, data, check, TINY, lines.append)

    for column in ("loss", "val_loss", "accuracy", "val_accuracy"):
        assert np.allclose(cached.history[column], history[column], atol=1e-4)
    images = rows[1].take(slice(None)).astype("float32")
    assert np.allclose(cached.detector(images), plain(images, training=False), atol=1e-3)
    labels, scores = sets[1].labels, np.ravel(cached.detector(images))
    loss = -np.mean(np.where(labels == 1, np.log(scores), np.log1p(-scores)))
    assert loss == pytest.approx(history["val_loss"].min(), rel=1e-3)  # of the best epoch
    assert cached.best_epoch == history["val_loss"].argmin() + 1 < TINY.epochs
    assert len(lines) == 6
    assert lines[0].startswith("clean-gan  epoch  1/3  loss ")


def test_features_in_eight_bits_are_steps_of_a_relu6(sets, tmp_path):
    prefix, _ = split_backbone(build_from_protocol(TINY))
    kept = {
        dtype: bottleneck_features(
            prefix, sets[1], replace(TINY, feature_dtype=dtype), Cache(tmp_path)
        )
        for dtype in ("float32", "float16", "uint8")
    }
    exact, eight = kept["float32"].take(slice(None)), kept["uint8"].take(slice(None))
    assert eight.dtype == np.float32 and kept["uint8"].arrays[0].dtype == np.uint8
    assert 0 < np.abs(eight - exact).max() <= 6 / 255 / 2 + 1e-4
    chosen = kept["uint8"].select(np.array([2, 0]))
    assert np.array_equal(chosen.take(slice(None)), eight[[2, 0]])
    linear = keras.Model(prefix.input, prefix.layers[-2].output)
    with pytest.raises(ValueError, match="no ReLU6"):
        bottleneck_features(linear, sets[1], replace(TINY, feature_dtype="uint8"), Cache(tmp_path))
    with pytest.raises(ValueError, match="uint8, float16, float32"):
        replace(TINY, feature_dtype="int4")


def test_mirrored_features_are_those_of_mirrored_images(sets, cache):
    prefix, _ = split_backbone(build_from_protocol(TINY))
    features = bottleneck_features(prefix, sets[1], TINY, cache, mirror=True)
    images = load_images(sets[1], TINY, cache).take(slice(None))[:, :, ::-1].astype("float32")
    assert np.allclose(features.take(slice(None)), prefix(images), atol=1e-5)


def test_a_loss_that_is_no_number_is_named():
    lines = EpochLog(TINY, print)
    lines.on_epoch_begin(0)
    with pytest.raises(FloatingPointError, match="clean-gan: the loss is nan in epoch 1; lower"):
        lines.on_epoch_end(0, {"loss": float("nan")})


def test_the_rate_warms_up_for_an_epoch_and_decays_to_zero():
    protocol = replace(TINY, learning_rate=1e-3, epochs=3)
    assert learning_rate(replace(protocol, schedule="constant"), 10) == 1e-3
    rate = learning_rate(protocol, 10)
    values = [float(rate(step)) for step in range(31)]
    assert values[10] == pytest.approx(1e-3) == max(values)
    assert values[0] == pytest.approx(1e-3 / 20)
    assert values[20] == pytest.approx(0.5e-3)  # halfway down half a cosine
    assert values[30] == pytest.approx(0, abs=1e-9)


def test_one_head_learns_from_pictures_and_their_maps(sets, cache):
    protocol = replace(
        preset("clean", "gan+ela"),
        **{f: getattr(TINY, f) for f in ("image_size", "alpha", "weights", "batch_size", "epochs")},
    )
    trained = train_detector(*sets, protocol, cache, log=len, build=joined_detector)
    held_out = sets[1]
    pictures = load_images(held_out, protocol.without_ela(), cache).take(slice(None))
    maps = np.stack([ela_map(picture, protocol.ela_quality) for picture in pictures])
    start = [build_from_protocol(p) for p in (protocol.without_ela(), protocol)]
    views = [
        split_backbone(model)[0](x.astype("float32"))
        for model, x in zip(start, (pictures, maps), strict=True)
    ]
    scores = np.ravel(trained.detector(np.concatenate(views, axis=-1), training=False))
    logits = trained.logits(held_out, cache)
    np.testing.assert_allclose(1 / (1 + np.exp(-logits)), scores, atol=2e-3)

    # each view has a say: without one the answer is another
    for view in range(2):
        silenced = [np.zeros_like(x) if place == view else x for place, x in enumerate(views)]
        other = np.ravel(trained.detector(np.concatenate(silenced, axis=-1), training=False))
        assert not np.array_equal(other, scores)
    for name, before in zip(("picture", "ela_map"), start, strict=True):
        after = trained.detector.get_layer(name).get_weights()
        trunk = before.get_weights()[-len(after) - 4 : -4]  # without the head's four
        assert any(not np.array_equal(a, b) for a, b in zip(after, trunk, strict=True)), name


def test_a_fused_normalisation_trains_as_keras_does():
    rng = np.random.default_rng(0)
    images, labels = rng.normal(2, 3, (6, 5, 4, 3)).astype("float32"), np.array([0, 1] * 3)
    plain = keras.Sequential(
        [
            keras.Input((5, 4, 3)),
            keras.layers.BatchNormalization(momentum=0.7),
            keras.layers.GlobalAveragePooling2D(),
            keras.layers.Dense(1, activation="sigmoid"),
        ]
    )
    plain.layers[0].set_weights(rng.uniform(0.5, 2, (4, 3)))
    whole = keras.models.clone_model(plain)
    whole.set_weights(plain.get_weights())
    fused = with_fused_norms(whole)
    assert np.allclose(fused(images), plain(images), atol=1e-6)
    for model in (plain, fused):
        model.compile(keras.optimizers.SGD(0.5), "binary_crossentropy")
        model.fit(images, labels, batch_size=3, epochs=2, shuffle=False, verbose=0)
    for ours, theirs in zip(whole.get_weights(), plain.get_weights(), strict=True):
        assert np.allclose(ours, theirs, rtol=1e-4, atol=1e-5)
    assert np.allclose(fused(images), plain(images), atol=1e-5)
    whole.layers[0].trainable = False
    assert [layer.name for layer in with_fused_norms(whole).layers] == [
        layer.name for layer in whole.layers
    ]
