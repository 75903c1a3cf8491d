"""What the README says stands in committed results."""

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from ddlib.study.report import update_readme

ROOT = Path(__file__).resolve().parents[1]
TABLES = ROOT / "figures" / "tables"


@pytest.mark.parametrize("name", ["large", "simulated"])
def test_every_committed_result_leads_to_its_provenance(name):
    table = pd.read_csv(TABLES / f"results_{name}.csv")
    facts = json.loads((TABLES / f"results_{name}.json").read_text(encoding="utf-8"))
    assert set(table["result_id"]) == set(facts)
    for fact in facts.values():
        assert fact["data_hash"] and fact["start_weights_hash"] and fact["protocol"]["condition"]
        assert fact["provenance"]["packages"]["tensorflow"]
    assert (table["tier"] == name).all()


def test_the_table_is_made_from_the_committed_results(tmp_path):
    shutil.copy(ROOT / "README.md", tmp_path)
    update_readme(tmp_path / "README.md", ROOT / "figures")
    made = (tmp_path / "README.md").read_text(encoding="utf-8")
    assert made == (ROOT / "README.md").read_text(encoding="utf-8"), "run `ddlib report --publish`"


def test_the_findings_in_words_are_those_of_the_committed_results():
    table = pd.read_csv(TABLES / "results_large.csv").query("protocol == 'clean'")
    ours = table.set_index(["condition", "test_set"])
    recall, accuracy = ours["recall_fake"], ours["accuracy"]
    # "as well as the study's, and takes nearly every SD face for a photograph"
    assert ours["accuracy_high"]["gan", "gan"] >= 0.941
    assert max(recall["gan", "sd21"], recall["gan", "sdxl"]) < 0.1
    # "nearly all of that generator, but only half of the SDXL faces"
    assert recall["gan+sd", "sd21"] > 0.9 and 0.4 < recall["gan+sd", "sdxl"] < 0.6
    # "no loss is shown, of 2 points at most", "loses about 20 points": over seeds, with intervals
    seeds = pd.read_csv(TABLES / "seed_differences_large.csv").query("plan == 'seeds'")
    change = seeds.query("test_set == 'gan' and measure == 'accuracy' and b == 'clean gan'")
    change = change.set_index("a")
    assert -0.02 < change["low"]["clean gan+sd"] < 0 < change["high"]["clean gan+sd"]
    assert abs(change["difference"]["clean gan+ela"] + 0.2) < 0.03
    assert abs(accuracy["gan+ela", "gan"] - accuracy["gan", "gan"] + 0.2) < 0.05
    # "calls about a third of the photographs fake"
    for condition in ("gan+ela", "gan+sd+ela"):
        for test_set in ("gan", "sd"):
            assert 0.25 < 1 - ours["recall_real"][condition, test_set] < 0.42
    # "what is planted they find no more often than one fixed place does"
    pointing = pd.read_csv(TABLES / "large_06_pointing_game.csv").set_index(["square", "pictures"])
    assert (
        pointing["low"]["planted", "moved to fake"]
        <= pointing["one place"]["planted", "moved to fake"]
    )
    # "6,501 GAN and FFHQ faces", "with 500 faces of Stable Diffusion 2.1 in training"
    facts = json.loads((TABLES / "results_large.json").read_text(encoding="utf-8"))
    clean = [each for each in facts.values() if each["protocol"]["name"] == "clean"]
    counts = {each["protocol"]["condition"]: each["n_training"] for each in clean}
    assert sum(counts["gan"].values()) == 6501
    assert counts["gan+sd"]["fake"] - counts["gan"]["fake"] == 500


def test_links_lead_somewhere():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    for target in re.findall(r"\]\(([^)#]+)\)", text):
        there = target.startswith(("https://", "http://")) or (ROOT / target).exists()
        assert there, f"README.md links to {target}, which is not there"


def test_without_its_marks_the_readme_is_left_alone(tmp_path):
    (tmp_path / "README.md").write_text("# no table")
    with pytest.raises(ValueError, match="begin table"):
        update_readme(tmp_path / "README.md", ROOT / "figures")
    assert (tmp_path / "README.md").read_text() == "# no table"


def test_the_python_of_the_readme_runs(short_mobilenet, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DDLIB_CACHE", str(tmp_path / "cache"))
    rng = np.random.default_rng(0)
    for folder in ("real", "fake/gan", "fake/midjourney"):
        (tmp_path / "my-faces" / folder).mkdir(parents=True)
        for number in range(20):
            image = rng.normal(120, 20, (64, 64, 3)).clip(0, 255).astype(np.uint8)
            Image.fromarray(image).save(tmp_path / "my-faces" / folder / f"{number}.png")
    Image.fromarray(image).save("portrait.jpg")
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    (block,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    quick = 'preset("clean", alpha=0.25, weights=None, image_size=64, epochs=1)'
    assert block.count('preset("clean")') == 1  # ImageNet weights and full width take minutes
    names = {}
    exec(block.replace('preset("clean")', quick), names)
    assert 0 <= names["answer"].score <= 1 and Path("portrait-cam.png").is_file()
    assert list(names["table"]["test_set"]) == ["all", "gan", "midjourney", "real"]
    assert names["table"]["n_real"][0] == 4 and names["table"]["n_fake"][0] == 8
