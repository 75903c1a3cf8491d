"""A released detector: trained, rounded, calibrated on valid, measured on test, with its card."""

import keras
import numpy as np
import pytest

from ddlib._io import read_json
from ddlib.data.cache import Cache
from ddlib.data.loader import load_images
from ddlib.data.subsets import test_sets as sets_for_testing
from ddlib.deploy.detector import open_detector
from ddlib.deploy.model_card import choose_thresholds
from ddlib.deploy.release import release
from ddlib.images.perturb import Augmentation
from ddlib.metrics.calibration import probability
from ddlib.metrics.score_table import score_table
from ddlib.models.finetuning import recipe

SMALL = recipe(
    0.25,
    epochs=2,
    augmentation=Augmentation(resize=0, zoom=0, blur=0, jpeg=0.5, lowest_quality=80),
    window=48,
    image_size=64,
    weights=None,
    batch_size=8,
    dense_units=16,
    dropout=0.0,
)


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return Cache(tmp_path_factory.mktemp("cache"))


@pytest.fixture(scope="module")
def released(tiny, cache, tmp_path_factory):
    """The folder of a detector that was trained and written."""
    folder = tmp_path_factory.mktemp("released")
    release(tiny, SMALL, folder, "mine", cache, default=True, log=len)
    return folder / "mine"


def test_what_is_released_is_calibrated_on_valid_and_measured_on_test(released, tiny, cache):
    folder = released
    detector = open_detector(folder=folder)
    assert detector.name == "mine"
    rows = {row["test_set"]: row for row in detector.card["numbers"]}
    assert set(rows) == {"gan", "sd", "sd21"}
    assert rows["sd21"]["accuracy"] is None and rows["sd21"]["n_fake"] == 5
    assert all(row["trained_on"] == "yes" for row in rows.values())

    chosen = sets_for_testing(tiny)["gan"]
    images = load_images(chosen, detector.protocol, cache)
    scores = detector.scores(detector.scorer(1).logits(images))
    assert score_table(chosen.labels, scores)["accuracy"] == rows["gan"]["accuracy"]
    twin = detector.keras_model()(images.take(slice(None)).astype("float32"), training=False)
    raw = keras.ops.convert_to_numpy(twin)[:, 0]
    tempered = detector.scores(np.log(raw / (1 - raw)))
    np.testing.assert_allclose(tempered, scores, atol=0.02)

    text = (folder / "mine.md").read_text(encoding="utf-8")
    assert read_json(folder / "mine.json")["sha256"] in text
    assert "sd21" in text


def test_the_band_keeps_its_promise_for_every_source():
    labels = np.repeat([0, 0, 1, 1], 40)
    sources = np.repeat(["easy photo", "hard photo", "easy fake", "hard fake"], 40)
    spread = np.linspace(-1, 1, 40)
    logits = np.concatenate([spread - 9, spread * 4 - 2, spread + 9, spread * 4 + 2])
    card = choose_thresholds(labels, logits, sources)
    low, high = card["reject_band"]
    scores = probability(logits, card["temperature"])
    for name in np.unique(sources):
        own = scores[sources == name]
        wrong = np.mean(own >= high) if "photo" in name else np.mean(own < low)
        assert wrong <= 0.05
    assert np.mean(scores[sources == "hard photo"] >= 0.5) > 0.2  # which one threshold would do


def test_one_half_stays_inside_the_band():
    labels = np.array([0] * 50 + [1] * 50)
    logits = np.concatenate([np.linspace(-9, -3, 50), np.linspace(3, 9, 50)])
    low, high = choose_thresholds(labels, logits, ["one"] * 100)["reject_band"]
    assert low <= 0.5 <= high
