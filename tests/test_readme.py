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
