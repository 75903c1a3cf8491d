"""What the README says stands in committed results."""

import json
import re
import shutil
from pathlib import Path

import pandas as pd
import pytest

from ddlib._io import write_json
from ddlib.protocol import preset
from ddlib.study.readme import detector_table, speed_table, update

ROOT = Path(__file__).resolve().parents[1]
TABLES = ROOT / "figures" / "tables"


@pytest.mark.parametrize("name", ["real", "simulated"])
def test_every_committed_result_leads_to_its_provenance(name):
    table = pd.read_csv(TABLES / f"results_{name}.csv")
    facts = json.loads((TABLES / f"results_{name}.json").read_text(encoding="utf-8"))
    assert set(table["result_id"]) == set(facts)
    for fact in facts.values():
        assert fact["data_hash"] and fact["start_weights_hash"] and fact["protocol"]["condition"]
        assert fact["provenance"]["packages"]["tensorflow"]
    assert table["tier"].str.startswith("simulated" if name == "simulated" else "real").all()


def test_the_table_is_made_from_the_committed_results(tmp_path):
    shutil.copy(ROOT / "README.md", tmp_path)
    update(tmp_path / "README.md", ROOT / "figures")
    made = (tmp_path / "README.md").read_text(encoding="utf-8")
    assert made == (ROOT / "README.md").read_text(encoding="utf-8"), "run `ddlib report --publish`"


def test_links_lead_somewhere():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    for target in re.findall(r"\]\(([^)#]+)\)", text):
        assert (ROOT / target).exists(), f"README.md links to {target}, which is not there"


def test_without_its_marks_the_readme_is_left_alone(tmp_path):
    (tmp_path / "README.md").write_text("# no table")
    with pytest.raises(ValueError, match="begin table"):
        update(tmp_path / "README.md", ROOT / "figures")
    assert (tmp_path / "README.md").read_text() == "# no table"


def test_detectors_stand_side_by_side_with_the_measure_that_their_set_has(tmp_path):
    def numbers(value, **counts):
        ends = {"": value, "_low": value - 0.1, "_high": value + 0.05}
        names = ("accuracy", "recall_real", "recall_fake")
        return {**counts, **{name + end: x for name in names for end, x in ends.items()}}

    for name, value in {"small": 0.8, "wide": 0.9}.items():
        rows = [
            {"test_set": "gan", "trained_on": "yes", **numbers(value, n_real=3, n_fake=4)},
            {"test_set": "sdxl", "trained_on": "no", **numbers(value, n_real=0, n_fake=5)},
        ]
        card = {"protocol": preset("clean", "gan").to_dict(), "numbers": rows}
        write_json(tmp_path / f"{name}.json", card)
    lines = detector_table(tmp_path).splitlines()
    assert lines[0] == "| test set | pictures | measure | small | wide |"
    assert lines[2] == (
        "| gan | 3 real + 4 fake | accuracy | 0.800 [0.700, 0.850] | 0.900 [0.800, 0.950] |"
    )
    assert lines[3].startswith("| sdxl (unseen) | 5 fake | recall of fakes | 0.800 ")


def test_speed_is_told_in_units_that_people_read():
    rows = pd.DataFrame(
        [{"what": "ELA", "study_s": 0.00095, "ddlib_s": 120.5, "unit": "image", "ratio": 2.5,
          "goal": 2}]
    )  # fmt: skip
    memory = rows.assign(what="memory", study_s=4.0, ddlib_s=1.25, unit="GB")
    line, other = speed_table(pd.concat([rows, memory])).splitlines()[2:]
    assert other == "| memory | 4 GB | 1.25 GB | 2.5 | 2 |"
    assert line == "| ELA, per image | 0.95 ms | 120.5 s | 2.5 | 2 |"
