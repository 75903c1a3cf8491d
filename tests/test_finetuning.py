"""Training every layer on windows, and what comes out to take away."""

from dataclasses import replace

import keras
import numpy as np
import pytest

from ddlib._io import read_json
from ddlib.data.cache import Cache
from ddlib.deploy import model_card
from ddlib.deploy.detector import open_detector
from ddlib.deploy.export import round_weights
from ddlib.deploy.model_card import card_rows, choose_thresholds
from ddlib.deploy.release import release
from ddlib.images.perturb import Augmentation
from ddlib.metrics.score_table import score_table
from ddlib.models.train import build_from_protocol
from ddlib.models.checkpoint import weights_digest
from ddlib.models.finetuning import Recipe, _first_stride, augmented_batches, finetune, recipe

GENTLE = Augmentation(resize=0, zoom=0, blur=0, jpeg=0.5, lowest_quality=80)
SMALL = recipe(
    *(0.25, 2),
    **{"augmentation": GENTLE, "window": 48, "image_size": 64, "weights": None},
    **{"batch_size": 8, "dense_units": 16, "dropout": 0.0},
)


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return Cache(tmp_path_factory.mktemp("store"))


@pytest.fixture(scope="module")
def taken(tiny, cache, tmp_path_factory):
    """A detector that was trained and written, and what was said meanwhile."""
    folder, lines = tmp_path_factory.mktemp("taken"), []
    release(tiny, SMALL, folder, "mine", cache, default=True, log=lines.append)
    return folder, lines


def test_every_layer_is_trained_and_the_detector_takes_whole_pictures(taken):
    folder, lines = taken
    card = read_json(folder / "mine.json")
    start, model = build_from_protocol(SMALL.protocol), open_detector(folder=folder).keras_model()
    assert card["provenance"]["start_weights_hash"] == weights_digest(start)
    assert model.input_shape == (None, 64, 64, 3)
    round_weights(start)  # as what is shipped is rounded, so that a difference is one of training
    for before, after in zip(start.trainable_weights, model.trainable_weights, strict=True):
        assert not np.array_equal(before, after), before.path
    assert len(lines) == SMALL.protocol.epochs == len(card["history"])


def test_batches_depend_on_the_seed_alone_and_change_by_epoch(tiny, cache):
    part = tiny.select(split="valid")
    from ddlib.data.loader import load_images

    pictures = load_images(part, replace(SMALL.protocol, jpeg_quality=None), cache)
    twice = [augmented_batches(pictures, part.labels, SMALL) for _ in range(2)]
    epochs = [[[x.numpy() for x, _, _ in data] for _ in range(2)] for data in twice]
    for first, again in zip(epochs[0][0], epochs[1][0], strict=True):
        np.testing.assert_array_equal(first, again)
    assert any(not np.array_equal(a, b) for a, b in zip(epochs[0][0], epochs[0][1], strict=True))
    shapes = [x.shape for x in epochs[0][0]]
    assert shapes == [(8, 48, 48, 3), (7, 48, 48, 3)]
    labels = np.concatenate([y.numpy() for _, y, _ in twice[0]])
    assert sorted(labels) == sorted(part.labels)


def test_without_early_downsampling_the_first_grid_is_as_large_as_the_picture():
    model = build_from_protocol(SMALL.protocol)
    full = _first_stride(model, 1)
    assert full.get_layer("conv1").output.shape[1] == 64
    assert model.get_layer("conv1").output.shape[1] == 32
    assert weights_digest(full) == weights_digest(model)


@pytest.mark.parametrize("window", [16, 96])
def test_a_window_that_does_not_fit_is_refused(tiny, window):
    part = tiny.select(split="valid")
    with pytest.raises(ValueError, match=f"window={window}; 32 to image_size=64 fit"):
        finetune(part, part, Recipe(SMALL.protocol, window=window), log=len)


def test_what_is_taken_away_is_calibrated_on_valid_and_measured_on_test(taken, tiny, cache):
    folder, _ = taken
    detector = open_detector(folder=folder)
    assert detector.name == "mine"
    rows = {row["test_set"]: row for row in detector.card["numbers"]}
    assert set(rows) == {"gan", "sd", "sd21"}
    assert rows["sd21"]["accuracy"] is None and rows["sd21"]["n_fake"] == 5
    assert all(row["trained_on"] == "yes" for row in rows.values())

    from ddlib.data.loader import load_images
    from ddlib.data.subsets import test_sets

    chosen = test_sets(tiny)["gan"]
    pictures = load_images(chosen, detector.protocol, cache)
    scores = detector.scores(detector.scorer(1).logits(pictures))
    assert score_table(chosen.labels, scores)["accuracy"] == rows["gan"]["accuracy"]
    twin = detector.keras_model()(pictures.take(slice(None)).astype("float32"), training=False)
    raw = keras.ops.convert_to_numpy(twin)[:, 0]
    tempered = detector.scores(np.log(raw / (1 - raw)))
    np.testing.assert_allclose(tempered, scores, atol=0.02)

    text = (folder / "mine.md").read_text(encoding="utf-8")
    assert read_json(folder / "mine.json")["sha256"] in text
    assert "| sd21 | 0 | 5 |  |  |" in text


def test_the_band_keeps_its_promise_for_every_source():
    labels = np.repeat([0, 0, 1, 1], 40)
    sources = np.repeat(["easy photo", "hard photo", "easy fake", "hard fake"], 40)
    spread = np.linspace(-1, 1, 40)
    logits = np.concatenate([spread - 9, spread * 4 - 2, spread + 9, spread * 4 + 2])
    card = choose_thresholds(labels, logits, sources)
    low, high = card["unsure"]
    scores = model_card.calibration.probability(logits, card["temperature"])
    for name in np.unique(sources):
        own = scores[sources == name]
        wrong = np.mean(own >= high) if "photo" in name else np.mean(own < low)
        assert wrong <= 0.05
    assert np.mean(scores[sources == "hard photo"] >= 0.5) > 0.2  # which one threshold would do


def test_one_half_stays_inside_the_band():
    labels = np.array([0] * 50 + [1] * 50)
    logits = np.concatenate([np.linspace(-9, -3, 50), np.linspace(3, 9, 50)])
    low, high = choose_thresholds(labels, logits, ["one"] * 100)["unsure"]
    assert low <= 0.5 <= high


def test_numbers_are_those_of_the_threshold_and_the_band():
    labels, logits = np.array([0, 0, 1, 1]), np.array([-2.0, 0.5, 0.5, 2.0])
    card = {"temperature": 2.0, "threshold": 0.5, "unsure": [0.4, 0.6]}
    sets = {"both": np.arange(4), "fakes": np.array([2, 3])}
    both, fakes = card_rows(labels, logits, sets, card, seen={"both": "yes", "fakes": "no"})
    assert both["accuracy"] == 0.75 and both["unsure"] == 0.5  # sigmoid(0.25) = 0.56
    assert fakes["accuracy"] is None and fakes["recall_fake"] == 1.0
    assert (both["trained_on"], fakes["trained_on"]) == ("yes", "no")
