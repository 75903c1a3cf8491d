"""A released detector: trained, rounded, calibrated on valid, measured on test, with its card."""

import zipfile
from types import SimpleNamespace

import numpy as np
import pytest
import toydetector
from PIL import Image

from ddlib.data.loader import load_images
from ddlib.data.sources import open_folder
from ddlib.data.subsets import test_sets as sets_for_testing
from ddlib.deploy.detector import open_detector
from ddlib.deploy.export import convert
from ddlib.deploy.model_card import Card, choose_thresholds, measure
from ddlib.deploy.release import release, round_weights, write_release
from ddlib.metrics.calibration import probability
from ddlib.metrics.intervals import wilson
from ddlib.metrics.score_table import score_table
from ddlib.models.features import weights_digest
from ddlib.models.train import build_from_protocol


@pytest.fixture(scope="module")
def released(tiny, cache, small_recipe, short_mobilenet, tmp_path_factory):
    """A detector that was trained and written."""
    folder = tmp_path_factory.mktemp("released")
    return open_detector(release(tiny, small_recipe, folder, "mine", cache, default=True))


def test_every_layer_is_trained_and_the_detector_takes_whole_images(released, small_recipe):
    start, trained = build_from_protocol(small_recipe.protocol), released.keras_model()
    assert released.card.provenance["start_weights_hash"] == weights_digest(start)
    round_weights(start)
    assert trained.input_shape == (None, 64, 64, 3)
    pairs = zip(start.trainable_weights, trained.trainable_weights, strict=True)
    for before, after in pairs:
        assert not np.array_equal(before, after), before.path
    assert len(released.card.history) == small_recipe.protocol.epochs


def test_a_release_is_calibrated_on_valid_and_measured_on_test(released, tiny, cache):
    assert released.name == "mine" and released.card.default
    rows = {row["test_set"]: row for row in released.card.numbers}
    assert set(rows) == {"gan", "sd", "sd21"}
    assert rows["sd21"]["accuracy"] is None and rows["sd21"]["n_fake"] == 5
    assert all(row["trained_on"] == "yes" for row in rows.values())

    chosen = sets_for_testing(tiny)["gan"]
    images = load_images(chosen, released.protocol, cache)
    scores = released.scores(released.scorer(1).logits(images))
    assert score_table(chosen.labels, scores)["accuracy"] == rows["gan"]["accuracy"]
    raw = released.keras_model().predict(images.take(slice(None)), verbose=0)[:, 0]
    np.testing.assert_allclose(released.scores(np.log(raw / (1 - raw))), scores, atol=0.02)

    text = (released.folder / "mine.md").read_text(encoding="utf-8")
    assert released.card.sha256 in text and "| Stable Diffusion 2.1 | 0 | 5 |  |" in text
    suffixes = sorted(path.suffix for path in released.folder.iterdir())
    assert suffixes == [".json", ".keras", ".md", ".tflite"]


def test_the_band_keeps_its_promise_for_every_source():
    labels = np.repeat([0, 0, 1, 1], 40)
    sources = np.repeat(["easy photo", "hard photo", "easy fake", "hard fake"], 40)
    spread = np.linspace(-1, 1, 40)
    logits = np.concatenate([spread - 9, spread * 4 - 2, spread + 9, spread * 4 + 2])
    temperature, (low, high) = choose_thresholds(labels, logits, sources)
    scores = probability(logits, temperature)
    for name in np.unique(sources):
        own = scores[sources == name]
        wrong = np.mean(own >= high) if "photo" in name else np.mean(own < low)
        assert wrong <= 0.05
    assert np.mean(scores[sources == "hard photo"] >= 0.5) > 0.2  # which one threshold would do
    easy = [0, 2]  # 0.5 stays inside the band of sets that are far apart
    chosen = np.isin(np.arange(160) // 40, easy)
    _, (low, high) = choose_thresholds(labels[chosen], logits[chosen], sources[chosen])
    assert low <= 0.5 <= high


def test_rounding_keeps_eleven_significant_bits():
    given = [1 + 2**-10, 1 + 2**-11, 1 + 3 * 2**-11, 1e-30, -3.0]
    found = []
    weights = [np.array(given, "float32")]
    round_weights(SimpleNamespace(get_weights=lambda: weights, set_weights=found.extend))
    # ties go to the even neighbour; a number too small for half precision stays
    assert found[0][:3].tolist() == [1 + 2**-10, 1.0, 1 + 2**-9]
    assert found[0][3] == pytest.approx(1e-30, rel=2**-11) and found[0][4] == -3


def write_toy(folder, temperature=2.0, model=None):
    card = Card("small", toydetector.PROTOCOL, temperature, reject_band=(0.3, 0.6), licence="MIT")
    content = toydetector.converted("float16")
    return write_release(model or toydetector.detector(), content, card, folder / "small")


def test_a_released_detector_is_small_and_whole(tmp_path):
    model = toydetector.copy()
    round_weights(model)
    path = write_toy(tmp_path, model=model)
    found = open_detector(path)
    pairs = zip(found.keras_model().get_weights(), model.get_weights(), strict=True)
    assert all(np.array_equal(ours, theirs) for ours, theirs in pairs)
    assert path.stat().st_size < 0.75 * 4 * model.count_params()
    assert (found.temperature, found.reject_band, found.card.licence) == (2.0, (0.3, 0.6), "MIT")
    assert np.isfinite(found.scorer(1).logits(toydetector.pictures(6, seed=2)[0])).all()


def test_a_release_replaces_an_older_one_as_a_whole_or_not_at_all(tmp_path, monkeypatch):
    path = write_toy(tmp_path, 2.0)
    (path.parent / "old.txt").write_text("of the older one")
    with monkeypatch.context() as patched:
        patched.setattr(zipfile.ZipFile, "writestr", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            write_toy(tmp_path, 3.0)
    assert open_detector(path).temperature == 2.0
    assert open_detector(write_toy(tmp_path, 3.0)).temperature == 3.0
    names = {each.name for each in path.parent.iterdir()}
    assert names == {"small.keras", "small.tflite", "small.json", "small.md"}
    assert [each.name for each in tmp_path.iterdir()] == ["small"]


def test_weights_that_do_not_fit_half_precision_are_refused():
    model = toydetector.copy()
    features, logit = model.get_layer("features"), model.get_layer("logit")
    features.set_weights([1e-6 * weight for weight in features.get_weights()])
    logit.set_weights([1e6 * logit.get_weights()[0], logit.get_weights()[1]])
    with pytest.raises(ValueError, match="as float16"):
        convert(model, "float16")


def test_a_card_claims_no_band_that_so_few_images_cannot_measure(released):
    *_, few, unknown = released.card.limits
    assert "fewer than 20 validation images of ffhq, sd21, stylegan" in few  # five each
    assert "were not measured" in unknown  # the test split holds no other source
    card = Card("x", toydetector.PROTOCOL, reject_band=(0.3, 0.6))
    assert "was not measured" in card.to_markdown() and "one in twenty" not in card.to_markdown()


def test_a_card_says_whom_the_detector_accuses(tmp_path):
    names = ["25_0_1_a.jpg", "30_1_1_b.jpg", "70_1_0_c.jpg", "x.jpg"]
    folder = tmp_path / "faces"
    for number, name in enumerate(names):
        path = folder / "real" / "utkface" / "test" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(toydetector.pictures(4)[0][number]).save(path, quality=95)
    manifest = open_folder(folder)
    called = manifest.table["path"].str.contains("30_1_1|x.jpg").to_numpy()
    plain = Card("x", toydetector.PROTOCOL)
    card = measure(manifest, np.where(called, 3.0, -3.0), plain)
    rows = card.false_accusations
    found = {(row["by"], row["value"]): (row["called_fake"], row["n"]) for row in rows}
    assert found["all", "all"] == (1, 3) and found["sex", "female"] == (1, 2)
    assert found["age", "60 and over"] == (0, 1)
    low, high = wilson(1, 3)
    assert f"| all | all | 3 | 1 | 0.333 [{low:.3f}, {high:.3f}] |" in card.to_markdown()
    assert "False accusations" not in plain.to_markdown()
