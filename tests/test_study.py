import subprocess
import sys
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from ddlib._io import read_json
from ddlib.data.cache import Cache
from ddlib.models.provenance import provenance
from ddlib.study.study import Run, Study, tier_name

CHANGES = {
    "image_size": 32,
    "alpha": 0.25,
    "weights": None,
    "trainable_layers": 30,
    "batch_size": 8,
    "epochs": 2,
    "dropout": 0.0,
}


@pytest.fixture(scope="module")
def lab(tiny, tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "tiny"
    nothing = pd.DataFrame(columns=["path", "reason"])
    cache = Cache(tmp_path_factory.mktemp("store"))
    lines = []
    made = Study("tiny", tiny, nothing, folder, CHANGES, lines.append, cache)
    made.lines = lines
    return made


def test_evaluate_measures_every_test_set_and_keeps_the_rows(lab):
    rows = lab.results("gan")
    by_source = rows.set_index("test_set")
    assert (by_source.loc["gan", "n_real"], by_source.loc["gan", "n_fake"]) == (5, 5)
    assert by_source.loc["sd21", "n_real"] == 0
    assert pd.isna(by_source.loc["sd21", "accuracy"])  # one class: recall only
    assert 0 <= by_source.loc["sd21", "recall_fake_low"] <= by_source.loc["sd21", "recall_fake"]
    kept = pd.read_csv(lab.folder / "results.csv")
    assert list(kept["result_id"]) == list(rows["result_id"])


def test_every_row_leads_to_its_provenance(lab):
    lab.results("gan")
    facts = read_json(lab.folder / "results.json")
    for result_id in pd.read_csv(lab.folder / "results.csv")["result_id"]:
        assert facts[result_id]["protocol"]["alpha"] == 0.25
        assert facts[result_id]["data_hash"] == lab.manifest.digest()
        assert facts[result_id]["provenance"]["packages"]["keras"]


def test_the_same_is_read_back_and_a_change_is_trained_anew(lab):
    first = lab.train("gan")
    lab.lines.clear()
    again = lab.train("gan")
    assert lab.lines == ["clean-gan: read back from clean-gan"]
    assert again.key == first.key
    pd.testing.assert_frame_equal(again.scores, first.scores)
    other = lab.train("gan", seed=1)
    assert other.key != first.key
    assert other.folder != first.folder


def test_an_interrupted_training_is_not_taken_for_finished(lab, monkeypatch):
    def killed(*_, **__):
        raise KeyboardInterrupt

    lab.train("gan+sd")
    with monkeypatch.context() as patched:
        patched.setattr("ddlib.models.checkpoint.save_detector", killed)
        (lab.folder / "models" / "clean-gan+sd" / "finished.json").unlink()
        with pytest.raises(KeyboardInterrupt):
            lab.train("gan+sd")
    lab.lines.clear()
    lab.train("gan+sd")
    assert any("epoch" in line for line in lab.lines)


def test_scores_follow_the_detector_that_was_saved(lab):
    from ddlib.data.loader import load_images

    run = lab.train("gan")
    chosen = lab.manifest.select(split="test", source="sd21")
    images = load_images(chosen, run.protocol, lab.cache).take(slice(None)).astype("float32")
    reread = Run(run.protocol, run.folder, run.key)
    expected = reread.detector(images).numpy()[:, 0]
    assert reread.scores_of(chosen)["score"].to_numpy() == pytest.approx(expected, abs=1e-3)


def test_training_images_have_no_score(lab):
    with pytest.raises(KeyError, match="only valid and test are scored"):
        lab.train("gan").scores_of(lab.manifest.select(split="train"))


def test_tier_names_are_plain_words():
    assert tier_name("My Faces (v2)") == "my-faces-v2"


def test_provenance_names_what_repeats_a_number():
    facts = provenance()
    assert facts["python"].count(".") == 2
    assert facts["peak_memory_mb"] > 10
    assert {"tensorflow", "keras", "numpy"} <= set(facts["packages"])


def test_the_peak_memory_of_a_process_is_not_that_of_its_parent():
    ours = np.ones(60_000_000)  # 480 MB
    tell = "from ddlib.models.provenance import peak_memory_mb; print(peak_memory_mb())"
    told = subprocess.run([sys.executable, "-c", tell], capture_output=True, text=True, check=True)
    assert int(told.stdout) < 200 < ours.nbytes / 1e6 < provenance()["peak_memory_mb"]


def test_rescoring_shows_the_detector_the_changed_pictures(lab):
    import keras

    from ddlib.data.loader import load_images
    from ddlib.study.study import reprocess_and_score

    inputs = keras.Input((32, 32, 3))
    darkest = -keras.layers.GlobalMaxPooling2D()(-inputs)
    mean = keras.layers.Dense(1, "sigmoid", kernel_initializer="ones")(darkest / 255)
    chosen = lab.manifest.select(split="test")
    kept = pd.DataFrame({"score": np.linspace(0, 1, len(chosen))})
    run = SimpleNamespace(detector=keras.Model(inputs, mean), protocol=lab.protocol("gan"))
    run.scores_of = lambda asked: kept if asked is chosen else None
    for change in ({"jpeg_quality": None}, {"jpeg_quality": 20}, {"resize": "nearest"}):
        pictures = load_images(chosen, replace(run.protocol, **change), lab.cache).take(slice(None))
        expected = 1 / (1 + np.exp(-(pictures.min((1, 2)) / 255).sum(1)))
        assert reprocess_and_score(run, chosen, lab.cache, **change) == pytest.approx(
            expected, abs=1e-5
        )
    with pytest.raises(ValueError, match="alpha=1.0 is no preparation"):
        reprocess_and_score(run, chosen, lab.cache, alpha=1.0)
    unchanged = {"jpeg_quality": run.protocol.jpeg_quality}
    assert (
        reprocess_and_score(run, chosen, lab.cache, **unchanged).tolist() == kept["score"].tolist()
    )
