import shutil
from dataclasses import replace

import keras
import numpy as np
import pandas as pd
import pytest

from ddlib import evaluate, train
from ddlib._utils import read_json
from ddlib.data.cache import Cache
from ddlib.data.loader import load_images
from ddlib.data.manifest import Manifest, ManifestError, MissingImagesError
from ddlib.models.provenance import checkout, provenance
from ddlib.protocol import preset
from ddlib.study.study import Run, Study, claim, open_study, published, run_folder

CHANGES = {"image_size": 32, "alpha": 0.25, "weights": None, "trainable_layers": 10}
CHANGES |= {"batch_size": 8, "epochs": 1, "dropout": 0.0}


@pytest.fixture(scope="module")
def study(tiny, short_mobilenet, tmp_path_factory):
    folder, lines = tmp_path_factory.mktemp("runs"), []
    made = Study("tiny", tiny, folder / "tiny", CHANGES, lines.append, Cache(folder / "cache"))
    made.lines = lines
    return made


def test_results_measure_every_test_set_and_are_kept_with_their_provenance(study):
    rows = study.results("gan")
    by_set = rows.set_index("test_set")
    assert (by_set.loc["gan", "n_real"], by_set.loc["gan", "n_fake"]) == (5, 5)
    assert by_set.loc["sd21", "n_real"] == 0
    assert pd.isna(by_set.loc["sd21", "accuracy"])  # one class: recall only
    assert 0 <= by_set.loc["sd21", "recall_fake_low"] <= by_set.loc["sd21", "recall_fake"]
    kept = pd.read_csv(study.folder / "results.csv")
    assert list(kept["result_id"]) == list(rows["result_id"])
    facts = read_json(study.folder / "results.json")
    for result_id in kept["result_id"]:
        assert facts[result_id]["protocol"]["alpha"] == 0.25
        assert facts[result_id]["data_hash"] == study.manifest.digest()
        packages = facts[result_id]["provenance"]["packages"]
        assert packages["keras"] == provenance()["packages"]["keras"]


def test_results_of_a_model_that_is_read_back_are_of_the_images_at_hand(study, tmp_path):
    """Images were added that its condition does not train on."""
    study.results("gan")
    folder = shutil.copytree(study.folder, tmp_path / "tiny")
    trained = study.manifest.table["split"] == "train"
    unused = trained & (study.manifest.table["source"] == "sd21")
    fewer = Manifest(study.manifest.root, study.manifest.table.drop(unused.idxmax()))
    study.lines.clear()
    replace(study, folder=folder, manifest=fewer).results("gan")
    assert not any("epoch" in line for line in study.lines)
    facts = read_json(folder / "results.json")
    assert {each["data_hash"] for each in facts.values()} == {fewer.digest()}


def test_a_test_set_that_the_folder_lacks_is_named(study):
    with pytest.raises(MissingImagesError, match="test set 'cats'; this folder has gan, sd"):
        study.test_sets["cats"]


def test_a_condition_has_learned_if_it_tells_its_own_validation_images(study):
    run = study.train("gan")  # SD fakes are in the split valid too, and no part of "gan"
    valid = run.scores[(run.scores["split"] == "valid") & (run.scores["source"] != "sd21")]
    fakes, reals = (valid.loc[valid["label"] == label, "score"] for label in ("fake", "real"))
    wins = np.mean([np.sign(f - r) / 2 + 0.5 for f in fakes for r in reals])
    rows = study.results("gan")
    assert rows["valid_auc"].tolist() == pytest.approx([wins] * len(rows))
    assert (rows["valid_auc_low"] <= wins).all() and (wins <= rows["valid_auc_high"]).all()


def test_the_same_is_read_back(study):
    first = study.train("gan")
    study.lines.clear()
    assert study.train("gan").key == first.key
    assert not study.lines  # said once, by the training itself
    study.opened.clear()  # as in another notebook
    again = [study.train("gan") for _ in range(2)][-1]
    assert study.lines == ["clean-gan: trained before, read back"]
    assert again.key == first.key
    pd.testing.assert_frame_equal(again.scores, first.scores)


def test_a_change_is_trained_anew_and_again_if_that_was_interrupted(study, monkeypatch):
    def killed(*_, **__):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr("ddlib.study.study.write_json", killed)  # the last step
        with pytest.raises(KeyboardInterrupt):
            study.train("gan", seed=1)
    assert (study.folder / "models" / "clean-gan-seed=1" / "detector.keras").is_file()
    first = study.train("gan")
    study.lines.clear()
    other = study.train("gan", seed=1)
    assert other.key != first.key and other.folder != first.folder
    assert any("epoch" in line for line in study.lines)


def test_scores_follow_the_detector_that_was_saved(study):
    run = study.train("gan")
    chosen = study.manifest.select(split="test", source="sd21")
    images = load_images(chosen, run.protocol, study.cache).take(slice(None)).astype("float32")
    reread = Run(run.protocol, run.folder, run.key)
    expected = reread.keras_model()(images).numpy()[:, 0]
    assert reread.scores_of(chosen)["score"].to_numpy() == pytest.approx(expected, abs=1e-3)
    with pytest.raises(KeyError, match="only valid and test are scored"):
        run.scores_of(study.manifest.select(split="train"))


@pytest.mark.parametrize("change", [{"jpeg_quality": None}, {"resize": "nearest"}])
def test_rescore_shows_the_network_images_prepared_otherwise(study, change):
    run = study.train("gan")
    chosen = study.manifest.select(split="test")
    prepared = load_images(chosen, replace(run.protocol, **change), study.cache)
    expected = run.detector(prepared.take(slice(None)).astype("float32")).numpy()[:, 0]
    assert run.rescore(chosen, study.cache, **change) == pytest.approx(expected, abs=1e-3)


def test_rescore_changes_the_preparation_only(study):
    run = study.train("gan")
    chosen = study.manifest.select(split="test")
    same = run.rescore(chosen, study.cache, jpeg_quality=run.protocol.jpeg_quality)
    assert same.tolist() == run.scores_of(chosen)["score"].tolist()
    with pytest.raises(ValueError, match="preparation='alpha' is not known; choose from square"):
        run.rescore(chosen, study.cache, alpha=1.0)


def test_save_writes_tables_and_figures_and_which_may_be_committed(study):
    from matplotlib.figure import Figure

    study.save("01_gain", pd.DataFrame({"gain": [0.5]}))
    study.save("01_gain", figure=Figure(), publish=True)
    study.save("02_faces", figure=Figure())
    assert pd.read_csv(study.folder / "tables" / "01_gain.csv")["gain"].tolist() == [0.5]
    names = sorted(path.name for path in (study.folder / "figures").iterdir())
    assert names == ["01_gain.png", "02_faces.png"]
    assert published(study.folder) == {"01_gain"}
    study.save("01_gain", figure=Figure())
    assert published(study.folder) == set()


def test_open_study_takes_a_small_folder_whole_and_says_where_results_go(tiny, tmp_path):
    lines = []
    study = open_study(tiny.root, tmp_path, small=True, log=lines.append)
    assert len(study.manifest) == len(tiny)
    assert study.folder.parent == tmp_path and not study.simulated
    assert lines == [f"{study.tier}: 60 images, 0 excluded; results in {study.folder}"]
    assert run_folder(tiny.root).parent == checkout() / "runs"
    assert run_folder("elsewhere/simulated").name == "simulated-folder", "no simulated tier"


def test_any_folder_is_trained_and_evaluated_without_the_study_s_conditions(tiny, short_mobilenet):
    protocol = preset("clean", **CHANGES)
    table = evaluate(train(tiny, protocol, log=lambda line: None), tiny)
    counts = table.set_index("test_set")[["n_real", "n_fake"]]
    assert counts.loc["all"].tolist() == [5, 10]
    assert counts.loc["stylegan"].tolist() == [0, 5]
    again = evaluate(train(tiny.root, protocol, log=lambda line: None), str(tiny.root))
    assert again["test_set"].tolist() == table["test_set"].tolist()  # a path is opened


def test_two_folders_of_one_name_do_not_share_results(tmp_path):
    folder, first, second = (tmp_path / name for name in ("runs", "a/faces", "b/faces"))
    for place in (first, second):
        place.mkdir(parents=True)
    for _ in range(2):
        claim(folder / "faces", first)
    with pytest.raises(ValueError, match=r"holds the results of .*a.faces.*--runs"):
        claim(folder / "faces", second)
    first.rmdir()  # it was moved or removed
    claim(folder / "faces", second)
    claim(folder / "simulated", "simulated")
    assert not (folder / "simulated").exists()


def test_what_cannot_be_trained_or_evaluated_is_named(tiny):
    with pytest.raises(ManifestError, match="'train' has no real images"):
        train(tiny.select(label="fake"))
    with pytest.raises(ValueError, match="give protocol="):
        evaluate(lambda images: images, tiny)


def test_a_model_of_one_s_own_is_evaluated_by_what_it_predicts(tiny):
    keras.utils.set_random_seed(0)
    protocol = preset("clean", **CHANGES)
    pixels = [keras.Input((32, 32, 3)), keras.layers.Rescaling(1 / 255), keras.layers.Flatten()]
    two = keras.Sequential([*pixels, keras.layers.Dense(2, "softmax")])
    test = tiny.select(split="test")
    images = load_images(test, protocol).take(slice(None)).astype("float32")
    called_fake = two.predict(images, verbose=0)[:, 1] >= 0.5
    table = evaluate(two, tiny, protocol).set_index("test_set")
    assert table.loc["all", "accuracy"] == pytest.approx(np.mean(called_fake == test.labels))
    assert table.loc["stylegan", ["n_real", "n_fake"]].tolist() == [0, 5]
    three = keras.Sequential([*pixels, keras.layers.Dense(3, "softmax")])
    with pytest.raises(ValueError, match="cannot be traced back to a logit"):
        evaluate(three, tiny, protocol)
